// Datagrams that wait in a UDP socket. They are seen by a peek, which leaves them; and they are made again by sending
// them, from a socket that has the address of the sender for a moment. Without privilege that is possible where the
// sender's address is one of this host's and nobody else has its port: so what other hosts and other programs have
// sent is refused.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/inet_records.h"
#include "sys/datagram.h"

namespace stint::net {

// Of this host, and of one interface: neither multicast nor broadcast.
Result<bool> is_own_unicast(const InetAddress& address);

// Whether somebody has this port of this address.
Result<bool> is_taken(const InetAddress& address);

// Where a datagram was sent that came to a socket at `local`. The kernel tells only a program that has asked for it
// (IP_PKTINFO); for others it is the address that the sender would have used to reach its own host.
InetAddress destination(const sys::Datagram& datagram, const InetAddress& local);

// How much memory the kernel takes for these. An empty datagram that was looked at before does not show any more: it
// shows in what a socket takes beyond this.
Result<uint32_t> memory_of(const std::vector<sys::Datagram>& datagrams);

// Puts them into a socket that is bound, the last so far at its address, whose port may be shared (SO_REUSEADDR), and
// that has no peer yet: an IPv6 socket that was connected once hears nobody else any more. Afterwards it has a filter
// that lets nothing in, and perhaps a larger buffer.
Result<> fill_with_datagrams(int fd, const InetAddress& local, const std::vector<image::DatagramRecord>& datagrams);

}  // namespace stint::net
