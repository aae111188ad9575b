#include "ipc/posix_queues.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/inode.h"
#include "sys/mqueue.h"
#include "sys/poll.h"

namespace stint::ipc {
namespace {

using image::PosixQueueRecord;

// "QSIZE:3 NOTIFY:0 SIGNO:0 NOTIFY_PID:42": nobody waits for a notification when the number is 0.
bool notifies(const std::string& status) {
  constexpr std::string_view kWho = "NOTIFY_PID:";
  size_t at = status.find(kWho);
  return at == std::string::npos || status.find_first_not_of(" \n", at + kWho.size()) == std::string::npos ||
         status[at + kWho.size()] != '0';
}

// What is taken must be put back, whatever fails meanwhile.
void put_back(int queue, const std::vector<sys::PrioritizedMessage>& messages) {
  for (const sys::PrioritizedMessage& message : messages)
    while (!sys::put_message(queue, message).has_value()) (void)sys::poll({}, 1);
}

Result<> copy_messages(int queue, PosixQueueRecord& record) {
  std::vector<sys::PrioritizedMessage> messages;
  Result<> taken;
  while (true) {
    Result<std::optional<sys::PrioritizedMessage>> next = sys::take_message(queue, record.message_size);
    if (!next.has_value()) {
      taken = std::move(next).error();
      break;
    }
    if (!next->has_value()) break;
    messages.push_back(std::move(**next));
  }
  put_back(queue, messages);
  for (sys::PrioritizedMessage& message : messages)
    record.messages.push_back({message.priority, std::move(message.text)});
  return taken;
}

Result<PosixQueueRecord> look(int directory, const std::string& name) {
  if (notifies(TRY(sys::read_small_at(directory, name))))
    return refused(
        "somebody is to be notified of its next message (mq_notify), which the kernel does not show whole; "
        "take the notification back before the checkpoint");
  PosixQueueRecord record;
  record.name = "/" + name;
  sys::UniqueFd queue = TRY(sys::open_queue(record.name, O_RDWR | O_NONBLOCK));
  struct stat stat = TRY(sys::fstat(queue.get()));
  mq_attr attributes = TRY(sys::queue_attributes(queue.get()));
  record.uid = stat.st_uid, record.gid = stat.st_gid, record.mode = stat.st_mode & 07777;
  record.most_messages = static_cast<uint64_t>(attributes.mq_maxmsg);
  record.message_size = static_cast<uint64_t>(attributes.mq_msgsize);
  TRY(copy_messages(queue.get(), record));
  return record;
}

}  // namespace

Result<std::vector<PosixQueueRecord>> look_at_posix_queues(int directory) {
  std::vector<PosixQueueRecord> records;
  for (const std::string& name : TRY(sys::list_queues(directory)))
    records.push_back(TRY(look(directory, name).in(fmt::format("POSIX message queue /{}", name))));
  return records;
}

Result<> make_posix_queue(const PosixQueueRecord& record) {
  mq_attr attributes{};
  attributes.mq_maxmsg = static_cast<long>(record.most_messages);
  attributes.mq_msgsize = static_cast<long>(record.message_size);
  sys::UniqueFd queue = TRY(sys::create_queue(record.name, 0600, attributes).in("see fs.mqueue, and ulimit -q"));
  for (const image::PosixMessage& message : record.messages)
    TRY(sys::put_message(queue.get(), {message.priority, message.text}));
  struct stat stat = TRY(sys::fstat(queue.get()));
  if (stat.st_uid != record.uid || stat.st_gid != record.gid) TRY(sys::fchown(queue.get(), record.uid, record.gid));
  return sys::fchmod(queue.get(), record.mode);
}

}  // namespace stint::ipc
