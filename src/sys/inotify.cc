#include "sys/inotify.h"

#include <sys/inotify.h>
#include <unistd.h>

#include "sys/call.h"
#include "sys/descriptor.h"

namespace stint::sys {

Result<UniqueFd> inotify() {
  return UniqueFd(static_cast<int>(TRY(call("inotify_init1", [&] { return ::inotify_init1(IN_CLOEXEC); }))));
}

Result<int> watch_inode(int inotify, const std::string& path, uint32_t mask) {
  return static_cast<int>(
      TRY(call("inotify_add_watch", [&] { return ::inotify_add_watch(inotify, path.c_str(), mask); }).in(path)));
}

Result<> unwatch_inode(int inotify, int watch) {
  TRY(call("inotify_rm_watch", [&] { return ::inotify_rm_watch(inotify, watch); }));
  return {};
}

Result<bool> drop_events(int inotify) {
  char events[65536];
  bool any = false;
  while (TRY(bytes_queued(inotify)) > 0) {
    TRY(call("read", [&] { return ::read(inotify, events, sizeof(events)); }));
    any = true;
  }
  return any;
}

}  // namespace stint::sys
