// `stint run`: a program becomes a job.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "job/state.h"
#include "job/supervisor.h"

namespace stint::job {

struct LaunchPlan {
  std::vector<std::string> arguments;  // the program first
  Claim claim;
  bool contained = true;
  bool own_ipc = true;  // an IPC namespace of its own, where it may be had
  // Nobody waits for it: reads nothing, writes to its log.
  bool detached = false;
  SupervisorOptions supervisor;
};

// Whether a job of this user is contained when nothing else was asked for: not where a restart in place is allowed.
bool contained_by_default();

// The program that `name` means, or why it cannot be run: 126 or 127 is to be the exit status (see program_missing), or
// it would change its user (kRefused).
Result<std::string> program_to_run(const std::string& name);
// What env(1) exits with after this failure of program_to_run.
int exit_status_of(const Error& error);

// Starts the job and stays with it to its end; what this process is to exit with. All signals are blocked from here on.
// A detached job: returns 0 in the caller as soon as it runs, and never in the process that stays with it.
Result<int> launch(LaunchPlan plan);

// Whether this user's jobs need a user namespace around the others.
bool needs_user_namespace();
// Fills in who the family is, for write_job().
Result<> note_family(Job& job, const Family& family);

// What a supervisor does after start_family, for a restart too: says what there is to say, stays until the end, and
// forgets a job that has nothing left to tell. `keep`: whatever happens.
Result<int> stay_with(const Job& job, Family& family, std::optional<TerminalRelay>& terminal,
                      const SupervisorOptions& options, bool keep);

// Leaves the terminal and the caller: true in the process that goes on, after its parent, which waits in here for
// the result of `started`, has returned false.
struct Detached {
  bool child = false;
  sys::UniqueFd parent;  // child: write one report to it (job/report.h) when the job runs, or why it does not
};
Result<Detached> detach(const std::string& log);

// What the three standard streams are; fills in everything but `terminal`.
std::array<Stream, 3> inspect_streams();
// The descriptor among 0, 1, 2 whose terminal is to be relayed; -1: the job needs none of its own.
int terminal_to_relay();
// The job's terminal in place of those of 0, 1, 2 that are terminals; in the root, before it execs.
Result<> take_terminal(int slave);

}  // namespace stint::job
