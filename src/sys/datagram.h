// Datagrams of Internet sockets: what waits, with all that a receiver can be told of it, and sending one.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/inet_address.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

struct Datagram {
  InetAddress from;
  Bytes bytes;
  // Of these, what the socket is set to tell its program.
  std::optional<InetAddress> to = {};  // port 0
  uint32_t interface = 0;              // where it came in; with `to`
  int hops = -1, traffic_class = -1;   // TTL and TOS of IPv4
  int segment = 0;                     // UDP_GRO: `bytes` are several datagrams of this size (the last may be smaller)
};

// All that waits, left where it is: SO_PEEK_OFF goes from one to the next. A datagram of no bytes shows only to who
// looks first (but for the first in the queue). An error that waits in the socket is taken away: look (poll) before.
Result<std::vector<Datagram>> peek_datagrams(int fd);

// At once or not at all. To where the socket is connected when `to` is nothing.
Result<> send_datagram(int fd, ByteView bytes, const std::optional<InetAddress>& to, int segment = 0);

// Memory that what waits in a socket takes (SO_MEMINFO); includes, for a while, what was received already.
Result<uint32_t> receive_memory(int fd);

}  // namespace stint::sys
