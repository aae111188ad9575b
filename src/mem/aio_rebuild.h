// Making a context of asynchronous I/O again: its ring, which is its id, at the old address, and in it the events that
// waited.
#pragma once

#include "image/memory_records.h"
#include "tracee/hands.h"

namespace stint::mem {

// Where the mapping was, there is memory of the same size that may be written. kUnfit when this kernel makes no ring
// like it.
Result<> rebuild_aio_ring(tracee::StoppedProcess& process, tracee::Hands& hands, const image::AioRingRecord& ring);

}  // namespace stint::mem
