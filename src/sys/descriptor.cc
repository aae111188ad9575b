#include "sys/descriptor.h"

#include <dirent.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "sys/call.h"
#include "sys/file.h"

namespace stint::sys {

Result<> set_status_flags(int fd, int flags) {
  TRY(call("F_SETFL", [&] { return ::fcntl(fd, F_SETFL, flags); }));
  return {};
}

Result<std::optional<int>> descriptor_flags(int fd) {
  Result<long> flags = call("F_GETFD", [&] { return ::fcntl(fd, F_GETFD); });
  if (!flags.has_value() && flags.error().os_errno() == EBADF) return std::nullopt;
  return static_cast<int>(TRY(flags));
}

Result<UniqueFd> duplicate(int fd, int lowest) {
  return UniqueFd(static_cast<int>(TRY(call("F_DUPFD_CLOEXEC", [&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, lowest); }))));
}

Result<> duplicate_to(int fd, int number, bool close_on_exec) {
  TRY(call("dup3", [&] { return ::dup3(fd, number, close_on_exec ? O_CLOEXEC : 0); }));
  return {};
}

Result<> close_range(unsigned first, unsigned last) {
  TRY(call("close_range", [&] { return ::syscall(SYS_close_range, first, last, 0); }));
  return {};
}

Result<uint64_t> position(int fd) {
  return static_cast<uint64_t>(TRY(call("lseek", [&] { return ::lseek(fd, 0, SEEK_CUR); })));
}

Result<> set_position(int fd, uint64_t position) {
  TRY(call("lseek", [&] { return ::lseek(fd, static_cast<off_t>(position), SEEK_SET); }));
  return {};
}

Result<int> bytes_queued(int fd) {
  int count = 0;
  TRY(call("FIONREAD", [&] { return ::ioctl(fd, FIONREAD, &count); }));
  return count;
}

Result<short> poll_now(int fd, short events) {
  pollfd one = {.fd = fd, .events = events, .revents = 0};
  TRY(call("poll", [&] { return ::poll(&one, 1, 0); }));
  return one.revents;
}

Result<f_owner_ex> owner(int fd) {
  f_owner_ex owner{};
  TRY(call("F_GETOWN_EX", [&] { return ::fcntl(fd, F_GETOWN_EX, &owner); }));
  return owner;
}

Result<> set_owner(int fd, const f_owner_ex& owner) {
  TRY(call("F_SETOWN_EX", [&] { return ::fcntl(fd, F_SETOWN_EX, &owner); }));
  return {};
}

Result<int> signal_of(int fd) {
  return static_cast<int>(TRY(call("F_GETSIG", [&] { return ::fcntl(fd, F_GETSIG); })));
}

Result<> set_signal_of(int fd, int signal) {
  TRY(call("F_SETSIG", [&] { return ::fcntl(fd, F_SETSIG, signal); }));
  return {};
}

Result<std::strong_ordering> compare_descriptions(int a, int b) {
  pid_t self = ::getpid();
  long order = TRY(call("kcmp", [&] { return ::syscall(SYS_kcmp, self, self, KCMP_FILE, a, b); }));
  if (order == 0) return std::strong_ordering::equal;
  if (order == 1) return std::strong_ordering::less;
  if (order == 2) return std::strong_ordering::greater;
  return failed("kcmp: this kernel gives no order of files");
}

Result<bool> shares_description(int ours, Pid other, int theirs) {
  return TRY(call("kcmp", [&] { return ::syscall(SYS_kcmp, ::getpid(), other.number, KCMP_FILE, ours, theirs); })) == 0;
}

Result<> lock_range(int fd, bool open_file_description, bool exclusive, uint64_t start, uint64_t length) {
  struct flock lock = {};
  lock.l_type = exclusive ? F_WRLCK : F_RDLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(start);
  lock.l_len = static_cast<off_t>(length);
  int command = open_file_description ? F_OFD_SETLK : F_SETLK;
  TRY(call(open_file_description ? "F_OFD_SETLK" : "F_SETLK", [&] { return ::fcntl(fd, command, &lock); }));
  return {};
}

Result<> lock_whole(int fd, bool exclusive) {
  TRY(call("flock", [&] { return ::flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB); }));
  return {};
}

Result<long> file_system_type(int fd) {
  struct statfs about;
  TRY(call("fstatfs", [&] { return ::fstatfs(fd, &about); }));
  return static_cast<long>(about.f_type);
}

Result<std::string> readlink_at(int directory, const std::string& name) {
  std::string text(256, '\0');
  for (;;) {
    size_t got = static_cast<size_t>(TRY(
        call("readlink", [&] { return ::readlinkat(directory, name.c_str(), text.data(), text.size()); }).in(name)));
    if (got < text.size()) {
      text.resize(got);
      return text;
    }
    text.resize(text.size() * 4);
  }
}

Result<std::vector<int>> list_numbers(int directory) {
  std::vector<int> numbers;
  std::array<char, 16384> buffer;
  for (;;) {
    long got = TRY(call("getdents64", [&] { return ::getdents64(directory, buffer.data(), buffer.size()); }));
    if (got == 0) break;
    for (long at = 0; at < got;) {
      const dirent64* entry = reinterpret_cast<const dirent64*>(buffer.data() + at);
      std::string_view name = entry->d_name;
      int number = 0;
      std::from_chars_result parsed = std::from_chars(name.data(), name.data() + name.size(), number);
      if (parsed.ec == std::errc() && parsed.ptr == name.data() + name.size()) numbers.push_back(number);
      at += entry->d_reclen;
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Result<std::string> read_small_at(int directory, const std::string& name) {
  UniqueFd file = TRY(open_at(directory, name, O_RDONLY));
  std::string text;
  for (;;) {
    std::array<std::byte, 4096> piece;
    size_t got = TRY(read(file.get(), piece).in(name));
    if (got == 0) return text;
    text.append(reinterpret_cast<const char*>(piece.data()), got);
  }
}

Result<> allow_descriptor(int number) {
  rlimit limit{};
  TRY(call("getrlimit", [&] { return ::getrlimit(RLIMIT_NOFILE, &limit); }));
  rlim_t needed = static_cast<rlim_t>(number) + 1;
  if (limit.rlim_cur >= needed) return {};
  limit.rlim_cur = needed;
  limit.rlim_max = std::max(limit.rlim_max, needed);
  TRY(call("setrlimit", [&] {
        return ::setrlimit(RLIMIT_NOFILE, &limit);
      }).in("raising the limit of open files (ulimit -Hn) to " + std::to_string(needed)));
  return {};
}

Result<> allow_most_descriptors() {
  rlimit limit{};
  TRY(call("getrlimit", [&] { return ::getrlimit(RLIMIT_NOFILE, &limit); }));
  if (limit.rlim_cur == limit.rlim_max) return {};
  limit.rlim_cur = limit.rlim_max;
  TRY(call("setrlimit", [&] { return ::setrlimit(RLIMIT_NOFILE, &limit); }));
  return {};
}

void grow_descriptor_table(int numbers) {
  if (!allow_most_descriptors().has_value()) return;
  int any = ::open("/dev/null", O_PATH | O_CLOEXEC);
  if (any < 0) return;
  int last = ::fcntl(any, F_DUPFD_CLOEXEC, numbers - 1);
  if (last >= 0) ::close(last);
  ::close(any);
}

Result<int64_t> clock_now_ns(int clock) {
  timespec now{};
  TRY(call("clock_gettime", [&] { return ::clock_gettime(clock, &now); }));
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

}  // namespace stint::sys
