#include "task/deadlines.h"

#include <fmt/format.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "proc/process.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/procfs.h"
#include "sys/tasks.h"

namespace stint::task {
namespace {

int64_t now_ns() { return sys::clock_ns(CLOCK_MONOTONIC); }

struct SchedLine {
  std::optional<int64_t> exec_start_ns;
  std::optional<uint64_t> switches;
};

// "se.exec_start  :  1234.567890" (milliseconds) and "nr_voluntary_switches : 17".
SchedLine parse(const std::string& text) {
  SchedLine line;
  auto after = [&](const char* key) -> const char* {
    size_t at = text.find(key);
    if (at == text.npos) return nullptr;
    at = text.find(':', at);
    return at == text.npos ? nullptr : text.c_str() + at + 1;
  };
  if (const char* value = after("se.exec_start")) line.exec_start_ns = static_cast<int64_t>(std::atof(value) * 1e6);
  if (const char* value = after("nr_voluntary_switches")) line.switches = std::strtoull(value, nullptr, 10);
  return line;
}

// While a thread moves to another processor, the time is zero until it runs there.
bool is_same_sleep(const SchedLine& a, const SchedLine& b) {
  return a.exec_start_ns && *a.exec_start_ns != 0 && a.exec_start_ns == b.exec_start_ns && a.switches == b.switches;
}

SchedLine read_sched(Pid thread) {
  Result<std::string> text = sys::read_proc(thread, "sched");
  return text.has_value() ? parse(*text) : SchedLine{};
}

// The scheduler's clock is each processor's own: it leaves out what interrupts and the hypervisor took. What it shows
// now on the one that `thread` was last on, is seen by going there: our own start on that processor, a moment ago.
class SchedulerClock {
 public:
  SchedulerClock() { ::sched_getaffinity(0, sizeof(ours_), &ours_); }
  ~SchedulerClock() { ::sched_setaffinity(0, sizeof(ours_), &ours_); }

  // By how much CLOCK_MONOTONIC is ahead of it. Nothing for a thread that is about to run, as one is that was let go a
  // moment ago: it may have been moved to another processor than the one whose clock its times are of.
  std::optional<int64_t> behind_monotonic_ns(Pid thread) {
    Result<std::string> text = sys::read_proc(thread, "stat");
    if (!text.has_value()) return {};
    Result<proc::Stat> stat = proc::parse_stat(*text);
    if (!stat.has_value() || stat->state == 'R') return {};
    auto [known, is_new] = behind_.try_emplace(stat->processor);
    if (is_new) known->second = measure(stat->processor);
    return known->second;
  }

 private:
  std::optional<int64_t> measure(int processor) {
    cpu_set_t there;
    CPU_ZERO(&there);
    CPU_SET(processor, &there);
    if (::sched_setaffinity(0, sizeof(there), &there) != 0) return {};
    ::sched_yield();
    std::optional<int64_t> scheduler = read_sched(Pid{0}).exec_start_ns;
    if (!scheduler) return {};
    return now_ns() - *scheduler;
  }

  cpu_set_t ours_;
  std::map<int, std::optional<int64_t>> behind_;
};

}  // namespace

Deadlines::Deadlines(std::string notes_file) : notes_file_(std::move(notes_file)) {
  if (notes_file_.empty()) return;
  Result<Bytes> bytes = sys::read_file(notes_file_);
  if (!bytes.has_value()) return;
  std::string text(text_of(*bytes));
  for (const char* at = text.c_str(); *at != '\0';) {
    SleepNote note;
    int used = 0;
    if (::sscanf(at, "%d %lu %ld %lu\n%n", &note.tid, &note.switches, &note.deadline_ns, &note.call, &used) != 4) break;
    old_notes_[note.tid] = note;
    at += used;
  }
}

void Deadlines::look_ahead(Pid process) {
  Result<std::vector<Pid>> threads = sys::list_threads(process);
  if (!threads.has_value()) return;
  SchedulerClock clock;
  for (Pid tid : *threads) {
    SchedLine line = read_sched(tid);
    if (!line.switches) continue;
    Seen seen{.switches = *line.switches, .looked_ns = now_ns()};
    std::optional<int64_t> behind = clock.behind_monotonic_ns(tid);
    if (behind && is_same_sleep(line, read_sched(tid)))
      seen.slept_ns = std::max<int64_t>(0, seen.looked_ns - (*line.exec_start_ns + *behind));
    seen_[tid.number] = seen;
  }
}

// Since the last stop let it go it has left the processor to sleep, perhaps, and for this stop: it is still in that
// sleep.
const SleepNote* Deadlines::find_note(Pid thread, uint64_t switches) const {
  auto known = old_notes_.find(thread.number);
  if (known == old_notes_.end()) return nullptr;
  uint64_t since = switches - known->second.switches;
  return since == 1 || since == 2 ? &known->second : nullptr;
}

int64_t Deadlines::time_left(Pid thread, int64_t timeout_ns, bool gone_on_with) {
  std::optional<uint64_t> switches = read_sched(thread).switches;
  if (!switches) return timeout_ns;
  int64_t now = now_ns();
  const SleepNote* note = gone_on_with ? find_note(thread, *switches) : nullptr;
  if (note != nullptr) return std::max<int64_t>(0, note->deadline_ns - now);
  auto seen = seen_.find(thread.number);
  // Stopping it made it leave the processor once more; anything else, and its sleep began after we looked.
  if (seen == seen_.end() || *switches != seen->second.switches + 1 || seen->second.slept_ns < 0) return timeout_ns;
  return std::max<int64_t>(0, timeout_ns - seen->second.slept_ns - (now - seen->second.looked_ns));
}

uint64_t Deadlines::known_call(Pid thread) const {
  std::optional<uint64_t> switches = read_sched(thread).switches;
  const SleepNote* note = switches ? find_note(thread, *switches) : nullptr;
  return note == nullptr ? 0 : note->call;
}

void Deadlines::note(Pid thread, uint64_t call, int64_t left_ns) {
  SchedLine line = read_sched(thread);
  if (!line.switches) return;
  new_notes_[thread.number] = {thread.number, *line.switches, now_ns() + left_ns, call};
}

Result<> Deadlines::carry_over() {
  seen_.clear();
  for (const auto& [tid, note] : new_notes_) old_notes_[tid] = note;
  new_notes_.clear();
  return save_notes(old_notes_);
}

Result<> Deadlines::save() const { return save_notes(new_notes_); }

Result<> Deadlines::save_notes(const std::map<int, SleepNote>& notes) const {
  if (notes_file_.empty()) return {};
  std::string text;
  for (const auto& [tid, note] : notes)
    text += fmt::format("{} {} {} {}\n", tid, note.switches, note.deadline_ns, note.call);
  std::string draft = notes_file_ + ".new";
  sys::UniqueFd file = TRY(sys::open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  TRY(sys::write_all(file.get(), bytes_of(text)));
  return sys::rename(draft, notes_file_);
}

}  // namespace stint::task
