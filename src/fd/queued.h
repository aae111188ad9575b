// Messages that wait in the unix sockets of a job, and the descriptors that they carry. Those are descriptors of the
// job although they are in no table: what they refer to is recorded like the rest, and may itself be a socket with
// messages.
#pragma once

#include <span>
#include <vector>

#include "fd/kind.h"

namespace stint::fd {

// Fills context.waiting_messages; gives the descriptors that wait. Nothing is taken.
Result<std::vector<Facts>> look_into_queues(std::span<const std::vector<Facts>> processes, CaptureContext& context);

}  // namespace stint::fd
