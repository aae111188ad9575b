// Descriptors that are events: eventfd, timerfd, signalfd, epoll.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

// With the full 64-bit count, which eventfd(2) itself does not take.
Result<UniqueFd> eventfd(uint64_t count, bool semaphore);

Result<UniqueFd> timerfd(int clock);
struct TimerValue {
  int64_t value_ns = 0, interval_ns = 0;  // value 0: disarmed
};
// The time left. This also counts the periods that have gone by: the kernel does so only when somebody asks.
Result<TimerValue> timerfd_left(int fd);
// `flags`: TFD_TIMER_*. Forgets the ticks that were not read.
Result<> set_timerfd(int fd, int flags, const TimerValue& value);
// ENOTTY on a kernel without CONFIG_CHECKPOINT_RESTORE. `ticks` must not be 0.
Result<> set_timerfd_ticks(int fd, uint64_t ticks);

// `mask`: bit N-1 for signal N, as the kernel has it. libc's signalfd() is the same call.
Result<UniqueFd> signalfd(uint64_t mask);

Result<UniqueFd> epoll();
Result<> add_watch(int epoll, int fd, uint32_t events, uint64_t data);
// Whether the `nth` watch of `epoll` that was added as number `tfd` is for the description behind `fd`; nothing when
// there is no such watch.
Result<std::optional<bool>> watches(int epoll, int tfd, unsigned nth, int fd);

}  // namespace stint::sys
