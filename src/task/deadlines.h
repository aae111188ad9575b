// When a sleeping thread is due. The kernel shows no deadline of a nanosleep, a futex wait or an epoll_wait from
// outside, but it shows when a thread was last put on a processor (se.exec_start of /proc/PID/task/TID/sched) and how
// often it has left it (nr_voluntary_switches): for a thread that sleeps, the first is when its sleep began. A stop
// wakes it, so this is read before the stop; and since the thread then goes back into what is left of the same sleep,
// the deadline that we worked out is noted down for the next checkpoint. That one knows the sleep again by the switch
// count, and by the thread's being in a call that was gone on with: by restart_syscall(2), or by the runner.
#pragma once

#include <map>
#include <string>

#include "base/remote.h"
#include "base/result.h"

namespace stint::task {

struct SleepNote {
  int tid = 0;  // as we see it
  uint64_t switches = 0;
  int64_t deadline_ns = 0;  // CLOCK_MONOTONIC of the host
  uint64_t call = 0;        // number of the system call that it sleeps in
};

class Deadlines {
 public:
  // `notes_file` holds what the last checkpoint noted; empty for none. A file that cannot be understood counts as none.
  explicit Deadlines(std::string notes_file);

  // Before the stop.
  void look_ahead(Pid process);

  // In the stop: how much is left of a sleep that was asked to take `timeout_ns`; never negative. `gone_on_with`: not
  // by the program's own call, but after an earlier stop.
  int64_t time_left(Pid thread, int64_t timeout_ns, bool gone_on_with);
  // The system call that it is known to sleep in from the last checkpoint, or 0.
  uint64_t known_call(Pid thread) const;

  // Just before a thread goes on into a sleep that has `left_ns` to go.
  void note(Pid thread, uint64_t call, int64_t left_ns);
  // After a thaw that another stop follows: what was noted is to that one what the last checkpoint has noted. Saved,
  // too.
  Result<> carry_over();
  // After the last thaw. A failure would only make a later checkpoint's sleeps less exact, but is returned all the
  // same.
  Result<> save() const;

 private:
  struct Seen {
    uint64_t switches = 0;
    int64_t slept_ns = -1;  // before we looked; -1: unknown
    int64_t looked_ns = 0;  // when
  };

  const SleepNote* find_note(Pid thread, uint64_t switches) const;
  Result<> save_notes(const std::map<int, SleepNote>& notes) const;

  std::string notes_file_;
  std::map<int, SleepNote> old_notes_;
  std::map<int, Seen> seen_;
  std::map<int, SleepNote> new_notes_;
};

}  // namespace stint::task
