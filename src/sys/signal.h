// Signal masks, and signals read from a descriptor instead of delivered.
#pragma once

#include <signal.h>

#include <optional>
#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

// Blocks every signal that can be blocked; returns the mask that was.
Result<sigset_t> block_signals();
Result<> set_signal_mask(const sigset_t& mask);

Result<> unblock_signals();

// A nonblocking descriptor that yields the signals of `mask`, which must be blocked.
Result<UniqueFd> signal_fd(const sigset_t& mask);
struct TakenSignal {
  int number = 0;
  int code = 0;  // SI_USER, SI_KERNEL (the terminal) ...
  pid_t sender = 0;
};
// The next pending one; nothing when there is none.
Result<std::optional<TakenSignal>> take_signal(int signal_fd);

// Does to this process, or with `group` to all of its process group, what the signal does by default or as it was set
// up, although it is blocked: returns when the process goes on after a stop, or at once if the signal does nothing (a
// job-control stop in an orphaned group).
Result<> suffer(int signal, bool group);

// 15 or "USR1", "SIGUSR1", "RTMIN+3".
Result<int> signal_number(const std::string& name);
std::string signal_name(int signal);  // "SIGUSR1"

// Whether the signal is ignored now.
bool is_ignored(int signal);
// Its default action, or none at all.
Result<> set_ignored(int signal, bool ignored);

}  // namespace stint::sys
