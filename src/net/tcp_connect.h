// Making TCP connections between two given addresses of this host, as an ordinary user: both ends are ours, so one
// listens for a moment and the other connects from its old port. A client gets its port as if the kernel had chosen
// it (net/local_port.h): so it may be shared with connections to other places.
#pragma once

#include <vector>

#include "base/inet_address.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::net {

// Where one end of a connection is, and what sort of socket it has.
struct Place {
  bool v6 = false;       // of AF_INET6
  bool v6_only = false;  // IPV6_V6ONLY
  InetAddress address;   // port 0: any
  int network = -1;      // that it is of (net/apart.h); -1: ours
};

// A socket that is about to connect from here. O_NONBLOCK, SO_REUSEADDR.
Result<sys::UniqueFd> make_client(const Place& place);
// Connects it; where nobody answers it stays on its way.
Result<> start_connecting(int client, const InetAddress& local, const InetAddress& remote);
// ... and waits, boundedly, until it is connected.
Result<> finish_connecting(int client, const InetAddress& remote);

struct Connection {
  sys::UniqueFd client, server;
};
Result<Connection> connect_both(const Place& client, const Place& server);

// A socket whose connect(2) from here is refused; the error waits.
Result<sys::UniqueFd> make_refused(const Place& place);

// SO_REUSEADDR, bind(2); the error names who has the address.
Result<> bind_again(int fd, const InetAddress& address);

// A connection that ended keeps its addresses for a minute (TIME_WAIT), and a job that was killed a moment ago leaves
// many. Ends those that use one of these (local) ports, by what RFC 1337 warns of: a SYN from its other end makes the
// rest of the connection answer for the old one, and is answered by a reset. Only where the other end is of this host.
Result<> end_time_wait(const std::vector<uint16_t>& ports);

}  // namespace stint::net
