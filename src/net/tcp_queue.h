// The bytes of one direction of a TCP connection whose both ends are on this host. Without privilege the kernel shows
// only what has arrived (MSG_PEEK): what the sender still holds, because the window is closed, because it is corked or
// because an acknowledgement is late, has to be brought over first. TCP itself does it, once the receiver's window is
// open: SO_RCVLOWAT opens it, up to net.ipv4.tcp_rmem, beyond what the receiver has asked for. The program sees bytes
// arrive early, as on a faster network.
#pragma once

#include <cstdint>
#include <functional>

#include "base/bytes.h"
#include "base/result.h"

namespace stint::net {

// How many bytes (a FIN counts as one) the sender of a direction has not got rid of.
using Unsent = std::function<Result<uint64_t>()>;
Unsent unsent_of(int from);

// Whether all of it is in the receive queue of `to` now. `from`: the sending end, -1 when nobody has it any more.
Result<bool> deliver(int from, const Unsent& unsent, int to);

// What waits in the receive queue, left there.
Result<Bytes> peek_queue(int fd);

// Sends the bytes so that all of them wait in the receive queue of `to`.
Result<> fill_queue(int from, int to, ByteView bytes);

}  // namespace stint::net
