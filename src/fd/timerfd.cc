// A timerfd: a clock, a deadline, a period, and the ticks that nobody has read. fdinfo shows all but the instant of an
// absolute deadline, which is what the clock says now and the time left. The kernel counts the periods that have gone
// by only when it is asked for the time left: so we ask, and look at fdinfo afterwards.
//
// An absolute timer is set again to its instant: the restored job's clocks go on from where they were, and of the clock
// of day (CLOCK_REALTIME) that is what was asked for. A relative one gets the time that was left.
#include <sys/timerfd.h>
#include <time.h>

#include <algorithm>

#include "fd/kinds.h"
#include "sys/clock.h"
#include "sys/descriptor.h"
#include "sys/event.h"
#include "sys/procfs.h"

namespace stint::fd {
namespace {

using image::TimerfdRecord;

bool recognises(const Facts& facts, const CaptureContext&) { return facts.info.timerfd.has_value(); }

int64_t job_clock_minus_ours(int clock, const CaptureContext& context) {
  if (clock == CLOCK_MONOTONIC) return context.monotonic_offset_ns;
  if (clock == CLOCK_BOOTTIME || clock == CLOCK_BOOTTIME_ALARM) return context.boottime_offset_ns;
  return 0;
}

Result<proc::TimerFdInfo> look_at(int fd) {
  TRY(sys::timerfd_left(fd));
  std::string text = TRY(sys::read_whole("/proc/self/fdinfo/" + std::to_string(fd)));
  proc::FdInfo info = TRY(proc::parse_fdinfo(text));
  if (!info.timerfd) return failed("fdinfo of our duplicate shows no timer");
  return *info.timerfd;
}

// fdinfo shows the ticks of a little later than the time left. Where the look before it has shown as many, both are of
// one moment.
bool tells_all(const proc::TimerFdInfo& timer, const proc::TimerFdInfo& before) {
  return timer.ticks == before.ticks && (timer.value_ns != 0 || (timer.ticks != 0 && timer.interval_ns == 0));
}

// A timer that is due looks like one that is not armed until the interrupt has come that counts the tick. Once in a
// checkpoint that is waited for: by then it has come for the others, too.
Result<proc::TimerFdInfo> look_at_settled(int fd, CaptureContext& context) {
  constexpr int64_t kPatience = 5'000'000;
  int64_t end = sys::clock_ns(CLOCK_MONOTONIC) + kPatience;
  proc::TimerFdInfo before = TRY(look_at(fd));
  for (;;) {
    bool enough = sys::clock_ns(CLOCK_MONOTONIC) > end;  // A look may be long after that.
    proc::TimerFdInfo timer = TRY(look_at(fd));
    if (tells_all(timer, before) || (timer.ticks == 0 && context.due_timers_have_ticked)) return timer;
    if (enough) {
      context.due_timers_have_ticked = true;
      return timer;
    }
    before = timer;
  }
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  TimerfdRecord record;
  record.description = description;
  record.clock = facts.info.timerfd->clockid;
  proc::TimerFdInfo timer = TRY(look_at_settled(facts.ours.get(), context));
  int64_t now = TRY(sys::clock_now_ns(record.clock)) + job_clock_minus_ours(record.clock, context);
  record.ticks = timer.ticks;
  record.settime_flags = timer.settime_flags;
  // A period too short for us to see it between two expirations.
  record.value_ns = timer.value_ns == 0 && timer.ticks != 0 ? timer.interval_ns : timer.value_ns;
  record.interval_ns = timer.interval_ns;
  record.deadline_ns = record.value_ns == 0 ? 0 : now + record.value_ns;
  return put_record(context.sink, kTimerfd.type, record);
}

// Without CONFIG_CHECKPOINT_RESTORE: let the timer expire as often as it has. One with a period is set to that many
// periods before its next deadline; one without can have gone off only once.
Result<> expire_again(int fd, const TimerfdRecord& record, int64_t deadline) {
  if (record.interval_ns == 0)
    return sys::set_timerfd(fd, 0, {.value_ns = 1, .interval_ns = 0}).in("expiring the timer");
  int64_t first = std::max<int64_t>(deadline - static_cast<int64_t>(record.ticks) * record.interval_ns, 1);
  return sys::set_timerfd(fd, TFD_TIMER_ABSTIME, {.value_ns = first, .interval_ns = record.interval_ns});
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext&) {
  TimerfdRecord record = TRY(image::decode<TimerfdRecord>(bytes));
  sys::UniqueFd timer = TRY(sys::timerfd(record.clock).in("the *_ALARM clocks need CAP_WAKE_ALARM"));
  bool absolute = (record.settime_flags & TFD_TIMER_ABSTIME) != 0;
  int64_t value = absolute ? record.deadline_ns : record.value_ns;
  int flags = static_cast<int>(record.settime_flags) & (TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET);
  if (value != 0) TRY(sys::set_timerfd(timer.get(), flags, {.value_ns = value, .interval_ns = record.interval_ns}));
  if (record.ticks == 0) return timer;
  Result<> set = sys::set_timerfd_ticks(timer.get(), record.ticks);
  if (set.has_value()) return timer;
  int64_t deadline = absolute ? record.deadline_ns : TRY(sys::clock_now_ns(record.clock)) + record.value_ns;
  TRY(expire_again(timer.get(), record, deadline));
  return timer;
}

}  // namespace

const Kind kTimerfd = {
    .name = "timerfd",
    .kept = "clock, time left or absolute deadline, period, expirations not read yet",
    .refused = "never",
    .type = image::RecordType::kTimerfd,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
