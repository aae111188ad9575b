#include "sys/clock.h"

#include <time.h>

namespace stint::sys {

int64_t monotonic_ms() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

int64_t realtime_s() { return ::time(nullptr); }

int64_t clock_ns(clockid_t clock) {
  timespec now;
  ::clock_gettime(clock, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

void wait_for_tick() {
  constexpr timespec kPiece = {.tv_sec = 0, .tv_nsec = 1'000'000};
  int64_t before = clock_ns(CLOCK_MONOTONIC_COARSE);
  while (clock_ns(CLOCK_MONOTONIC_COARSE) == before) ::clock_nanosleep(CLOCK_MONOTONIC, 0, &kPiece, nullptr);
}

}  // namespace stint::sys
