// /proc/PID/fdinfo/N: what the kernel shows of one open file description, and, for the kinds that have no other way of
// being asked, of its state. Which part is there depends on the kind; unknown lines are kept in `other`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace stint::proc {

struct EventFdInfo {
  uint64_t count = 0;
  std::optional<int64_t> id;      // 5.2 and later: the same in every descriptor of one eventfd
  std::optional<bool> semaphore;  // EFD_SEMAPHORE; 6.5 and later
};

struct TimerFdInfo {
  int clockid = 0;
  uint64_t ticks = 0;          // expirations not read yet
  uint32_t settime_flags = 0;  // TFD_TIMER_ABSTIME ... as last given
  int64_t value_ns = 0;        // time left (also of an absolute timer); 0: disarmed
  int64_t interval_ns = 0;
};

struct EpollWatch {
  int tfd = 0;  // the number in the table of whoever added it, at that time
  uint32_t events = 0;
  uint64_t data = 0;
  // Of the watched file; 4.13 and later, 0 before.
  int64_t pos = 0;
  uint64_t ino = 0, sdev = 0;
};

struct InotifyWatch {
  int wd = 0;
  uint64_t ino = 0, sdev = 0;
  uint32_t mask = 0;
  uint32_t handle_type = 0;
  std::string handle;  // bytes for open_by_handle_at(2); empty where the file system has none
};

struct PidFdInfo {
  int pid = 0;             // in the pid namespace of the /proc that was read; -1: gone, 0: not visible there
  std::vector<int> nspid;  // outermost first
};

// A record lock, flock or lease that was set through this description.
struct LockInfo {
  enum class Kind : uint8_t { kPosix, kFlock, kOfd, kLease, kDelegation, kLayout } kind = Kind::kPosix;
  bool mandatory_or_breaking = false;  // not plain ADVISORY / ACTIVE
  bool write = false;
  int pid = 0;  // -1 for an open-file-description lock
  uint32_t major = 0, minor = 0;
  uint64_t inode = 0;
  uint64_t start = 0;
  std::optional<uint64_t> end;  // inclusive; nothing: to the end of the file
};

struct IoUringInfo {
  uint64_t sq_mask = 0, sq_head = 0, sq_tail = 0, cached_sq_head = 0;
  uint64_t cq_mask = 0, cq_head = 0, cq_tail = 0, cached_cq_tail = 0;
  int64_t sq_thread = -1;  // tid of a kernel poll thread
  uint64_t user_files = 0, user_buffers = 0;
  std::vector<std::string> lines;  // the rest as shown: registered files and buffers, poll list, overflow
};

struct FdInfo {
  uint64_t pos = 0;
  uint32_t flags = 0;  // of F_GETFL, and O_CLOEXEC of this very descriptor
  uint64_t mnt_id = 0;
  std::optional<uint64_t> ino;  // 5.14 and later

  std::optional<EventFdInfo> eventfd;
  std::optional<TimerFdInfo> timerfd;
  std::optional<uint64_t> signalfd_mask;  // bit n-1 for signal n
  std::vector<EpollWatch> epoll;
  std::vector<InotifyWatch> inotify;
  std::optional<PidFdInfo> pidfd;
  std::optional<IoUringInfo> io_uring;
  std::vector<LockInfo> locks;
  std::vector<std::string> other;  // lines of kinds that we have no word for

  bool close_on_exec() const;
};

Result<FdInfo> parse_fdinfo(std::string_view text);

}  // namespace stint::proc
