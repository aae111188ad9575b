// Messages between processes of ours, over a unix socket pair that keeps their boundaries. The kernel says of each who
// sent it, in the numbers of the receiver's pid namespace: the one way to learn the outer number of a process inside.
#pragma once

#include <sys/types.h>

#include <optional>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

// Two ends of a SOCK_SEQPACKET pair, blocking. What arrives at the first shows its sender.
Result<std::pair<UniqueFd, UniqueFd>> message_pair();

// With a descriptor, unless it is -1: the receiver gets a copy. EPIPE (and no SIGPIPE) when the other end is gone.
Result<> send_message(int socket, ByteView message, int descriptor = -1);

struct Message {
  size_t size = 0;  // 0: every copy of the other end is closed
  pid_t sender = 0;
  UniqueFd descriptor{};  // close-on-exec; not valid when none was sent
};
// The next message, cut at buffer.size(); nothing when `wait` is false and there is none.
Result<std::optional<Message>> receive_message(int socket, std::span<std::byte> buffer, bool wait);

}  // namespace stint::sys
