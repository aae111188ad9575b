#include "sys/poll.h"

#include "sys/call.h"

namespace stint::sys {

Result<bool> poll(std::span<pollfd> watched, int timeout_ms) {
  return TRY(call("poll", [&] { return ::poll(watched.data(), watched.size(), timeout_ms); })) > 0;
}

}  // namespace stint::sys
