// The contexts of asynchronous I/O (io_setup(2)) of a stopped process: waits until no request is under way in them, and
// records their rings.
//
// The kernel shows to nobody how many requests of a context are under way. But a context has so many and no more, and
// one is held from its submission until its event has been taken: so we submit requests that do nothing until the
// kernel has no more to give. When as many could be submitted as there are, less the events that wait, none is under
// way. The processors hold back some that they have been given; where too few came, the thread goes round all of them.
//
// Our events go the same way as all others, so all of this is undone in the ring: as many of them pass as it has slots,
// which brings its tail to where it was, and what waited is put back in its place. Killed in the middle, we would leave
// events in it that the program has not asked for (doc/failure-model.md).
#pragma once

#include "image/memory_records.h"
#include "tracee/hands.h"

namespace stint::mem {

// Of all its contexts, and of the rings that it has inherited without a context. kNotNow when a request does not end in
// time; kRefused when a ring is not mapped as io_setup(2) has left it.
Result<std::vector<image::AioRingRecord>> settle_aio(tracee::StoppedProcess& process, tracee::Hands& hands,
                                                     int32_t job_pid, std::span<const proc::Vma> vmas);

}  // namespace stint::mem
