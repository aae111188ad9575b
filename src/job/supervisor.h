// The supervisor: `stint run` or `stint restart` while the job runs. To whoever started it, it is the program: signals
// go through to the job, stops and exit statuses come back, the terminal is relayed. It holds nothing that the job
// needs: killed, it leaves a job that runs on.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "job/family.h"
#include "job/state.h"
#include "job/terminal.h"

namespace stint::job {

inline constexpr int kStoppedByCheckpoint = 85;
inline constexpr int kOurFailure = 125;
inline constexpr int kCannotRun = 126;
inline constexpr int kNotFound = 127;

struct SupervisorOptions {
  int64_t every_ms = 0;       // 0: no checkpoints by the clock
  int64_t mtbf_ms = 0;        // above 0: as often as fits this and what a checkpoint costs, instead
  int signal = 0;             // the one that asks for a checkpoint; 0: none
  bool signal_stops = false;  // ... and the job is stopped by it
  // How to take a checkpoint: the arguments of this binary after its name, without the job's.
  std::vector<std::string> checkpoint_command = {"checkpoint"};
};

// Returns when the root has ended: with what this process is to exit with. All signals are blocked. Does not touch the
// job's directory but to read it.
struct Outcome {
  int exit_status = 0;
  std::optional<Ending> ending;   // nothing: gone without a word
  std::optional<int> stopped_by;  // the checkpoint
  bool others_left = false;       // processes of the job live on
};
Result<Outcome> supervise(const Job& job, Family& family, std::optional<TerminalRelay>& terminal,
                          const SupervisorOptions& options);

}  // namespace stint::job
