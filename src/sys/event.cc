#include "sys/event.h"

#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "sys/call.h"
#include "sys/file.h"

namespace stint::sys {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr unsigned long kSetTicks = _IOW('T', 0, uint64_t);  // TFD_IOC_SET_TICKS, which libc's headers do not have

timespec timespec_of(int64_t ns) { return {.tv_sec = ns / kSecond, .tv_nsec = ns % kSecond}; }
int64_t ns_of(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

}  // namespace

Result<UniqueFd> eventfd(uint64_t count, bool semaphore) {
  int flags = EFD_CLOEXEC | (semaphore ? EFD_SEMAPHORE : 0);
  UniqueFd made(static_cast<int>(TRY(call("eventfd2", [&] { return ::eventfd(0, flags); }))));
  if (count != 0) TRY(write_all(made.get(), {reinterpret_cast<const std::byte*>(&count), sizeof(count)}));
  return made;
}

Result<UniqueFd> timerfd(int clock) {
  return UniqueFd(static_cast<int>(TRY(call("timerfd_create", [&] { return ::timerfd_create(clock, TFD_CLOEXEC); }))));
}

Result<TimerValue> timerfd_left(int fd) {
  itimerspec left{};
  TRY(call("timerfd_gettime", [&] { return ::timerfd_gettime(fd, &left); }));
  return TimerValue{.value_ns = ns_of(left.it_value), .interval_ns = ns_of(left.it_interval)};
}

Result<> set_timerfd(int fd, int flags, const TimerValue& value) {
  itimerspec spec{.it_interval = timespec_of(value.interval_ns), .it_value = timespec_of(value.value_ns)};
  TRY(call("timerfd_settime", [&] { return ::timerfd_settime(fd, flags, &spec, nullptr); }));
  return {};
}

Result<> set_timerfd_ticks(int fd, uint64_t ticks) {
  TRY(call("TFD_IOC_SET_TICKS", [&] { return ::ioctl(fd, kSetTicks, &ticks); }));
  return {};
}

Result<UniqueFd> signalfd(uint64_t mask) {
  return UniqueFd(static_cast<int>(
      TRY(call("signalfd4", [&] { return ::syscall(SYS_signalfd4, -1, &mask, sizeof(mask), O_CLOEXEC); }))));
}

Result<UniqueFd> epoll() {
  return UniqueFd(static_cast<int>(TRY(call("epoll_create1", [&] { return ::epoll_create1(EPOLL_CLOEXEC); }))));
}

Result<> add_watch(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event{.events = events, .data = {.u64 = data}};
  TRY(call("EPOLL_CTL_ADD", [&] { return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event); }));
  return {};
}

Result<std::optional<bool>> watches(int epoll, int tfd, unsigned nth, int fd) {
  pid_t self = ::getpid();
  kcmp_epoll_slot slot = {.efd = static_cast<uint32_t>(epoll), .tfd = static_cast<uint32_t>(tfd), .toff = nth};
  Result<long> order =
      call("KCMP_EPOLL_TFD", [&] { return ::syscall(SYS_kcmp, self, self, KCMP_EPOLL_TFD, fd, &slot); });
  if (order.has_value()) return std::optional<bool>(*order == 0);
  if (order.error().os_errno() == ENOENT) return std::optional<bool>();
  return std::move(order).error();
}

}  // namespace stint::sys
