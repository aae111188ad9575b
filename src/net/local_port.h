// The address and port of a socket that is made again. A port that the kernel chose and one that bind(2) asked for
// differ: the first is given back when the socket is disconnected. Which of the two it was the kernel does not show; a
// connected socket with a port from the range that the kernel chooses from is taken to have the first. It gets its port
// from IP_LOCAL_PORT_RANGE, narrowed to that one.
#pragma once

#include <cstdint>

#include "base/inet_address.h"
#include "base/result.h"

namespace stint::net {

// The next port that the kernel chooses for the socket is this one; 0: any, as before. False: before Linux 6.3.
Result<bool> choose_port(int fd, uint16_t port);

// Whether the kernel chooses such ports; one that lies outside was chosen by bind(2).
bool is_ephemeral(uint16_t port);

// What an error of bind(2) or connect(2) means to the user: who has the address.
Error not_free(int protocol, const InetAddress& address, Error error);

}  // namespace stint::net
