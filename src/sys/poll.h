// Waiting for several descriptors at once.
#pragma once

#include <poll.h>

#include <span>

#include "base/result.h"

namespace stint::sys {

// Fills in revents. `timeout_ms` -1 waits for ever. True when something is ready, false when the time is over.
Result<bool> poll(std::span<pollfd> watched, int timeout_ms);

}  // namespace stint::sys
