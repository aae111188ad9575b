// What time it is.
#pragma once

#include <time.h>

#include <cstdint>

namespace stint::sys {

int64_t clock_ns(clockid_t clock);
// Until the clock that the kernel itself counts by (jiffies, CLOCK_MONOTONIC_COARSE) has gone on.
void wait_for_tick();
int64_t monotonic_ms();  // goes on evenly, whatever happens to the calendar
int64_t realtime_s();    // since 1970

}  // namespace stint::sys
