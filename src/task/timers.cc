#include "task/timers.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include <algorithm>

#include "proc/process.h"
#include "sys/procfs.h"

namespace stint::task {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

image::IntervalTimer from(const itimerval& t) {
  return {t.it_value.tv_sec * kNsPerSecond + t.it_value.tv_usec * 1000,
          t.it_interval.tv_sec * kNsPerSecond + t.it_interval.tv_usec * 1000};
}
image::IntervalTimer from(const itimerspec& t) {
  return {t.it_value.tv_sec * kNsPerSecond + t.it_value.tv_nsec,
          t.it_interval.tv_sec * kNsPerSecond + t.it_interval.tv_nsec};
}
timespec to_timespec(int64_t ns) { return {ns / kNsPerSecond, ns % kNsPerSecond}; }
timeval to_timeval(int64_t ns) { return {ns / kNsPerSecond, ns % kNsPerSecond / 1000}; }

class TimerQuestions {
 public:
  // Reads /proc/PID/timers.
  static Result<TimerQuestions> make(tracee::Table& table, Pid process, const std::map<int, int>& job_tid);
  void answer(const tracee::Table& table, image::ProcessRecord& record) const;

 private:
  uint64_t interval_timers_ = 0;
  struct PosixQuestion {
    image::PosixTimer timer;
    uint64_t left = 0;
    size_t overrun = 0;
  };
  std::vector<PosixQuestion> posix_;
};

Result<TimerQuestions> TimerQuestions::make(tracee::Table& table, Pid process, const std::map<int, int>& job_tid) {
  TimerQuestions questions;
  questions.interval_timers_ = table.room(3 * sizeof(itimerval));
  for (uint64_t which = 0; which < 3; ++which)
    table.must("getitimer", SYS_getitimer, {which, questions.interval_timers_ + which * sizeof(itimerval)});
  std::string text = TRY(sys::read_proc(process, "timers"));
  for (const proc::TimerEntry& entry : TRY(proc::parse_timers(text))) {
    PosixQuestion question;
    question.timer.id = entry.id;
    question.timer.clock = entry.clock;
    question.timer.notify = entry.notify;
    question.timer.signal = entry.signal;
    question.timer.sigev_value = entry.value;
    if (entry.notify & SIGEV_THREAD_ID) {
      auto target = job_tid.find(entry.target);
      // A thread that has ended gets no signals: the timer is as good as one that notifies nobody.
      if (target == job_tid.end())
        question.timer.notify = SIGEV_NONE;
      else
        question.timer.target_tid = target->second;
    }
    question.left = table.out<itimerspec>();
    table.must("timer_gettime", SYS_timer_gettime, {static_cast<uint64_t>(entry.id), question.left});
    question.overrun = table.ask(SYS_timer_getoverrun, {static_cast<uint64_t>(entry.id)});
    questions.posix_.push_back(question);
  }
  std::ranges::sort(questions.posix_, {}, [](const PosixQuestion& q) { return q.timer.id; });
  return questions;
}

void TimerQuestions::answer(const tracee::Table& table, image::ProcessRecord& record) const {
  record.interval_timers.clear(), record.posix_timers.clear();
  for (uint64_t which = 0; which < 3; ++which)
    record.interval_timers.push_back(from(table.value<itimerval>(interval_timers_ + which * sizeof(itimerval))));
  for (const PosixQuestion& question : posix_) {
    image::PosixTimer timer = question.timer;
    timer.left = from(table.value<itimerspec>(question.left));
    timer.overrun = static_cast<int32_t>(table.result(question.overrun));
    record.posix_timers.push_back(timer);
  }
}

}  // namespace

// A signal that waits keeps its timer from sending another: there is an end to this, unless somebody else sends them.
Result<Pending> capture_timers(tracee::StoppedProcess& process, tracee::Hands& hands, const std::map<int, int>& job_tid,
                               image::ProcessRecord& record) {
  constexpr int kAttempts = 10'000;
  Pending before = TRY(capture_pending(process));
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    tracee::Table table(hands);
    TimerQuestions timers = TRY(TimerQuestions::make(table, process.seen_as(), job_tid));
    TRY(table.run(process.representative(), process.seen_as()));
    timers.answer(table, record);
    Pending after = TRY(capture_pending(process));
    if (after == before) return after;
    before = std::move(after);
  }
  return not_now("it is sent signals without end; try again");
}

namespace {

// The kernel hands out ids upwards from the last one it gave: timers are made and deleted until the wanted id comes.
Result<> create_timer(const image::PosixTimer& timer, tracee::Hands& hands, tracee::Thread& thread, Pid process) {
  sigevent event{};
  event.sigev_value.sival_ptr = reinterpret_cast<void*>(timer.sigev_value);
  event.sigev_signo = timer.signal;
  event.sigev_notify = timer.notify;
  event._sigev_un._tid = timer.target_tid;
  while (true) {
    tracee::Table table(hands);
    uint64_t id = table.out<int>();
    table.must("timer_create", SYS_timer_create, {static_cast<uint64_t>(timer.clock), table.in(event), id});
    TRY(table.run(thread, process));
    int made = table.value<int>(id);
    if (made == timer.id) return {};
    TRY(hands.call(thread, "timer_delete", {SYS_timer_delete, {static_cast<uint64_t>(made)}}));
    if (made > timer.id) return failed(fmt::format("the kernel does not give out POSIX timer id {} again", timer.id));
  }
}

}  // namespace

Result<> restore_timers(const image::ProcessRecord& record, tracee::Hands& hands, tracee::Thread& thread, Pid process) {
  for (const image::PosixTimer& timer : record.posix_timers) TRY(create_timer(timer, hands, thread, process));
  tracee::Table table(hands);
  for (const image::PosixTimer& timer : record.posix_timers) {
    itimerspec left{to_timespec(timer.left.interval_ns), to_timespec(timer.left.value_ns)};
    table.must("timer_settime", SYS_timer_settime, {static_cast<uint64_t>(timer.id), 0, table.in(left), 0});
  }
  for (uint64_t which = 0; which < record.interval_timers.size(); ++which) {
    const image::IntervalTimer& timer = record.interval_timers[which];
    // Nothing left, but an interval: it has expired, and the kernel starts it again when its signal, which is queued,
    // is delivered. That tie is gone now.
    int64_t value_ns = timer.value_ns == 0 ? timer.interval_ns : timer.value_ns;
    itimerval left{to_timeval(timer.interval_ns), to_timeval(value_ns)};
    table.must("setitimer", SYS_setitimer, {which, table.in(left), 0});
  }
  return table.run(thread, process);
}

}  // namespace stint::task
