// How a thread is scheduled. All of it can be asked, and within one's rights set, from outside.
#pragma once

#include "base/bytes.h"
#include "base/remote.h"
#include "base/result.h"

namespace stint::sys {

// struct sched_attr as the kernel fills it (sched_getattr(2)).
Result<Bytes> get_sched_attr(Pid thread);
Result<> set_sched_attr(Pid thread, ByteView attr);

// The kernel's cpu mask, as many bytes as it has.
Result<Bytes> get_affinity(Pid thread);
Result<> set_affinity(Pid thread, ByteView mask);

// ioprio_get(2), of one thread.
Result<uint32_t> get_io_priority(Pid thread);
Result<> set_io_priority(Pid thread, uint32_t priority);

}  // namespace stint::sys
