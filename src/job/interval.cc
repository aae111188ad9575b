#include "job/interval.h"

#include <cmath>

namespace stint::job {

int64_t best_interval_ms(int64_t cost_ms, int64_t mtbf_ms) {
  if (cost_ms >= 2 * mtbf_ms) return mtbf_ms;
  double cost = static_cast<double>(cost_ms);
  double mtbf = static_cast<double>(mtbf_ms);
  double share = cost / (2 * mtbf);
  return std::llround(std::sqrt(2 * cost * mtbf) * (1 + std::sqrt(share) / 3 + share / 9) - cost);
}

}  // namespace stint::job
