// What a pipe and a FIFO have in common: one buffer, whose size and content are recorded with the first description of
// it, and ends that are opened anew through a descriptor of the buffer.
#pragma once

#include "fd/kind.h"

namespace stint::fd {

// Which ends of this buffer are open inside the job.
struct EndsInside {
  bool reading = false, writing = false;
  bool packets = false;  // some writing end is in packet mode (O_DIRECT)
  // The other end is open outside, and counts as gone (--external=close). A reader there has what is queued, or had it
  // before it went.
  bool cut_off = false;
};
EndsInside ends_inside(const Facts& facts, const CaptureContext& context);

// False when the job holds one kind of end only and the other is open all the same: outside.
Result<bool> is_ours_alone(const Facts& facts, const EndsInside& ends);

// Fills in capacity, and content if no record of this buffer has it yet.
Result<> record_buffer(const Facts& facts, const EndsInside& ends, CaptureContext& context, image::PipeRecord& record);

// Size and content into a fresh buffer. `read` and `write` are ends of it.
Result<> refill_buffer(int read, int write, const image::PipeRecord& record);

}  // namespace stint::fd
