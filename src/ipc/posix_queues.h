// POSIX message queues. A message can be looked at only by taking it. So the process that visits the namespace takes
// all and puts them back, in the order in which they come, which is that of their priorities and then of their age: the
// queue is what it was. Everybody who could notice is stopped. The visitor blocks all signals meanwhile and does not
// need the one who takes the checkpoint, so only a SIGKILL of the visitor itself in these microseconds loses messages.
#pragma once

#include <vector>

#include "image/ipc_records.h"
#include "image/record.h"

namespace stint::ipc {

// All queues that have a name: `directory` is sys::message_queue_directory's. kRefused where one would notify somebody
// (mq_notify): the kernel does not show of what.
Result<std::vector<image::PosixQueueRecord>> look_at_posix_queues(int directory);

Result<> make_posix_queue(const image::PosixQueueRecord& queue);

}  // namespace stint::ipc
