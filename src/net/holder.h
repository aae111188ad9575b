// Who stands in the way of a socket that wants its old address.
#pragma once

#include <string>

#include "base/inet_address.h"

namespace stint::net {

// "process 42 (nginx)"; "a connection that ended, for 31 s more"; what is known.
std::string holder_of(int protocol, const InetAddress& address);
// Likewise, of a number among the netlink sockets of a protocol.
std::string holder_of_netlink(int protocol, uint32_t port);

}  // namespace stint::net
