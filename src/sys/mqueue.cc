#include "sys/mqueue.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <memory>

#include "sys/call.h"
#include "sys/file.h"

namespace stint::sys {

Result<UniqueFd> message_queue_directory() {
  UniqueFd context(static_cast<int>(TRY(call("fsopen", [&] { return ::fsopen("mqueue", FSOPEN_CLOEXEC); }))));
  TRY(call("fsconfig", [&] { return ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0); }));
  UniqueFd mount(static_cast<int>(TRY(call("fsmount", [&] { return ::fsmount(context.get(), FSMOUNT_CLOEXEC, 0); }))));
  return open_at(mount.get(), ".", O_RDONLY | O_DIRECTORY);  // That one is O_PATH.
}

Result<std::vector<std::string>> list_queues(int directory) {
  int copy = static_cast<int>(TRY(call("dup", [&] { return ::dup(directory); })));
  std::unique_ptr<DIR, int (*)(DIR*)> queues(::fdopendir(copy), ::closedir);
  if (queues == nullptr) return os_error("fdopendir");
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(queues.get());
    if (entry == nullptr) break;
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  if (errno != 0) return os_error("readdir");
  return names;
}

Result<UniqueFd> open_queue(const std::string& name, int flags) {
  return UniqueFd(
      static_cast<int>(TRY(call("mq_open", [&] { return ::mq_open(name.c_str(), flags | O_CLOEXEC); }).in(name))));
}

Result<UniqueFd> create_queue(const std::string& name, mode_t mode, const mq_attr& attributes) {
  constexpr int kFlags = O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK | O_CLOEXEC;
  mq_attr wanted = attributes;
  return UniqueFd(
      static_cast<int>(TRY(call("mq_open", [&] { return ::mq_open(name.c_str(), kFlags, mode, &wanted); }).in(name))));
}

Result<mq_attr> queue_attributes(int queue) {
  mq_attr attributes{};
  TRY(call("mq_getattr", [&] { return ::mq_getattr(queue, &attributes); }));
  return attributes;
}

Result<std::optional<PrioritizedMessage>> take_message(int queue, size_t size) {
  PrioritizedMessage message;
  message.text.resize(size);
  Result<long> got = call("mq_receive", [&] {
    return ::mq_receive(queue, reinterpret_cast<char*>(message.text.data()), size, &message.priority);
  });
  if (!got.has_value()) {
    if (got.error().os_errno() == EAGAIN) return std::optional<PrioritizedMessage>();
    return std::move(got).error();
  }
  message.text.resize(static_cast<size_t>(*got));
  return std::optional(std::move(message));
}

Result<> put_message(int queue, const PrioritizedMessage& message) {
  const char* text = reinterpret_cast<const char*>(message.text.data());
  TRY(call("mq_send", [&] { return ::mq_send(queue, text, message.text.size(), message.priority); }));
  return {};
}

}  // namespace stint::sys
