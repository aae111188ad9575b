#include "sys/namespace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "sys/call.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/process.h"
#include "sys/procfs.h"

namespace stint::sys {
namespace {

// These files take one write(2), whole, or refuse it.
Result<> write_own(const char* path, const std::string& text) {
  UniqueFd file(static_cast<int>(TRY(call("open", [&] { return ::open(path, O_WRONLY | O_CLOEXEC); }).in(path))));
  TRY(call("write", [&] { return ::write(file.get(), text.data(), text.size()); }).in(path));
  return {};
}

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

// timens_offsets wants nanoseconds in 0..999999999, so a negative offset borrows a second.
std::string clock_line(const char* clock, int64_t offset_ns) {
  int64_t seconds = offset_ns / kNanosecondsPerSecond;
  int64_t nanoseconds = offset_ns % kNanosecondsPerSecond;
  if (nanoseconds < 0) {
    nanoseconds += kNanosecondsPerSecond;
    --seconds;
  }
  return fmt::format("{} {} {}\n", clock, seconds, nanoseconds);
}

}  // namespace

Result<> unshare(int flags) {
  TRY(call("unshare", [&] { return ::unshare(flags); }));
  return {};
}

Result<> enter_namespaces_of(Pid process, int flags) {
  UniqueFd pidfd = TRY(pidfd_of_thread(process));
  TRY(call("setns", [&] { return ::setns(pidfd.get(), flags); }));
  return {};
}

Result<bool> shares_namespace(Pid process, const std::string& kind) {
  return TRY(readlink(proc_path(process, "ns/" + kind))) == TRY(readlink(proc_path(Pid{0}, "ns/" + kind)));
}

Result<> map_own_ids(uid_t uid, gid_t gid) {
  TRY(write_own("/proc/self/setgroups", "deny"));
  TRY(write_own("/proc/self/uid_map", fmt::format("{} {} 1\n", uid, uid)));
  return write_own("/proc/self/gid_map", fmt::format("{} {} 1\n", gid, gid));
}

Result<> move_clocks(int64_t monotonic_ns, int64_t boottime_ns) {
  // The offsets are against the machine's clocks, and a new namespace begins with those of its maker's.
  std::string text = TRY(read_proc(Pid{0}, "timens_offsets"));
  long long seconds[2] = {}, nanoseconds[2] = {};
  if (std::sscanf(text.c_str(), "monotonic %lld %lld boottime %lld %lld", &seconds[0], &nanoseconds[0], &seconds[1],
                  &nanoseconds[1]) != 4) {
    return failed("/proc/self/timens_offsets: not understood: " + text);
  }
  monotonic_ns += seconds[0] * kNanosecondsPerSecond + nanoseconds[0];
  boottime_ns += seconds[1] * kNanosecondsPerSecond + nanoseconds[1];
  return write_own("/proc/self/timens_offsets",
                   clock_line("monotonic", monotonic_ns) + clock_line("boottime", boottime_ns));
}

Result<> make_mounts_slave() {
  TRY(call("mount", [] { return ::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr); }).in("mount propagation"));
  return {};
}

Result<> mount_proc() {
  unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  TRY(call("mount", [&] { return ::mount("proc", "/proc", "proc", flags, nullptr); }).in("/proc"));
  return {};
}

Result<> mount_pts(std::optional<gid_t> tty_group) {
  std::string options = "newinstance,ptmxmode=0666,mode=0600";
  if (tty_group) options = fmt::format("newinstance,ptmxmode=0666,mode=0620,gid={}", *tty_group);
  unsigned long flags = MS_NOSUID | MS_NOEXEC;
  TRY(call("mount", [&] { return ::mount("devpts", "/dev/pts", "devpts", flags, options.c_str()); }).in("/dev/pts"));
  struct stat ptmx = {};
  bool link = ::lstat("/dev/ptmx", &ptmx) == 0 && S_ISLNK(ptmx.st_mode);  // To pts/ptmx: it leads there now.
  if (!link)
    TRY(call("mount", [] { return ::mount("/dev/pts/ptmx", "/dev/ptmx", nullptr, MS_BIND, nullptr); }).in("/dev/ptmx"));
  return {};
}

}  // namespace stint::sys
