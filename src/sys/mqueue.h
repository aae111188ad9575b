// POSIX message queues of the caller's IPC namespace.
#pragma once

#include <mqueue.h>
#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

// A directory of all queues, without mounting it anywhere. Needs CAP_SYS_ADMIN over the mount namespace.
Result<UniqueFd> message_queue_directory();

Result<std::vector<std::string>> list_queues(int directory);  // without the slash in front

// `name` begins with a slash.
Result<UniqueFd> open_queue(const std::string& name, int flags);
Result<UniqueFd> create_queue(const std::string& name, mode_t mode, const mq_attr& attributes);
Result<mq_attr> queue_attributes(int queue);

// The one that is next, which is taken; nothing when there is none. `size`: mq_msgsize of the queue.
struct PrioritizedMessage {
  unsigned priority = 0;
  Bytes text;
};
Result<std::optional<PrioritizedMessage>> take_message(int queue, size_t size);
Result<> put_message(int queue, const PrioritizedMessage& message);

}  // namespace stint::sys
