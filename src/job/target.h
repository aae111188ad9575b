// A job as capture/ wants to be told of it.
#pragma once

#include "capture/checkpoint.h"
#include "job/state.h"

namespace stint::job {

// One without a directory (look_at) has no notes of its own.
Result<capture::Target> capture_target(const Job& job);

// And back: what a checkpoint says of its job, but for what is another at each run (processes, streams, terminal). Name
// and directory stay.
void take_over(Job& job, const image::JobRecord& record);

}  // namespace stint::job
