// A descriptor of a POSIX message queue. The queue itself, with what waits in it, belongs to the job's IPC namespace
// and is the affair of ipc/posix_queues.h; here is only how it was opened.
#include <fcntl.h>

#include <algorithm>

#include "fd/kinds.h"
#include "fd/path.h"
#include "sys/mqueue.h"

namespace stint::fd {
namespace {

using image::MqueueRecord;

bool recognises(const Facts& facts, const CaptureContext&) {
  if (!S_ISREG(facts.stat.st_mode) || !facts.link.starts_with('/')) return false;
  Result<bool> is_queue = is_message_queue(facts);
  return is_queue.has_value() && *is_queue;
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  if (!context.own_ipc)
    return refusal(facts, "is a message queue that is shared with the whole system",
                   "run the program under `stint run` without --plain, so that it has an IPC namespace of its own");
  if (facts.stat.st_nlink == 0)
    return refusal(facts, "is a message queue that was removed (mq_unlink), and cannot be reached by its name",
                   "close it before the checkpoint");
  if (std::ranges::count(facts.link, '/') != 1)
    return refusal(facts, "is a message queue that was opened as a file", "open it by mq_open(3)");
  MqueueRecord record;
  record.description = description;
  record.name = facts.link;
  return put_record(context.sink, kMqueue.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext&) {
  MqueueRecord record = TRY(image::decode<MqueueRecord>(bytes));
  return sys::open_queue(record.name, static_cast<int>(record.description.flags) & O_ACCMODE);
}

}  // namespace

const Kind kMqueue = {
    .name = "POSIX message queue",
    .kept = "name, size, owner, and the messages that wait with their priorities, also of queues that nobody has open",
    .refused = "it was removed; somebody waits for a notification; it is the whole system's (`run --plain`)",
    .type = image::RecordType::kMqueue,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
