// How often to take checkpoints, so that least time is lost: to checkpoints, and to what is computed again after a
// failure.
#pragma once

#include <cstdint>

namespace stint::job {

// For `run --every auto` without --mtbf, and before the first checkpoint has told what one costs.
inline constexpr int64_t kUsualMtbf_ms = 24 * 60 * 60 * 1000;
inline constexpr int64_t kSupposedCost_ms = 1000;

// From the end of one checkpoint to the begin of the next, in milliseconds, where a checkpoint costs `cost_ms` and the
// mean time between failures is `mtbf_ms`; both above 0. J. T. Daly, "A higher order estimate of the optimum checkpoint
// interval for restart dumps", Future Generation Computer Systems 22 (2006), equation 37; its first term is Young's.
int64_t best_interval_ms(int64_t cost_ms, int64_t mtbf_ms);

}  // namespace stint::job
