// The stand-in: parent and session leader of the job, the one process of ours that must be there as long as the job is.
#pragma once

#include <string>

#include "base/remote.h"
#include "sys/fd.h"

namespace stint::job {

struct StandInPlace {
  std::string directory;
  sys::UniqueFd socket;  // to the supervisor
  sys::UniqueFd master;  // of the job's terminal, or not valid
  // Its other side. Held open so that the master never sees an end of file while the job lives, whatever the job
  // closes.
  sys::UniqueFd slave;
  int root = 0;  // as the stand-in numbers it
};

// Never returns: reaps, reports and writes `status` until no descendant is left.
[[noreturn]] void stand_in_main(StandInPlace place);

}  // namespace stint::job
