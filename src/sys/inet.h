// Internet sockets: addresses, connecting and listening, options of any level as bytes. None of these waits.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/inet_address.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

Result<> bind(int fd, const InetAddress& address);
// Whether it is connected; false: on its way. The socket must be O_NONBLOCK.
Result<bool> connect(int fd, const InetAddress& address);
// The next connection that waits, O_NONBLOCK; nothing when there is none. The listener must be O_NONBLOCK.
Result<std::optional<UniqueFd>> accept_now(int fd);

Result<InetAddress> own_address(int fd);
// Nothing when it is not connected (or no longer).
Result<std::optional<InetAddress>> peer_address(int fd);

// An option's value as it is, at most `capacity` bytes. Nothing when this kernel, or this socket, does not know it.
Result<std::optional<Bytes>> option_bytes(int fd, int level, int name, size_t capacity);
Result<> set_option_bytes(int fd, int level, int name, ByteView value);
Result<int> option(int fd, int level, int name);
Result<> set_option(int fd, int level, int name, int value);

// How many bytes of these the socket took: 0 when it is full.
Result<size_t> send_some(int fd, ByteView bytes);
// SIOCOUTQ: of TCP, bytes that its other end has not acknowledged; of UDP, memory of datagrams under way.
Result<int> bytes_unsent(int fd);
// Looks at the first byte that waits, which stays. The kernel then also looks at the window that it offers.
Result<> peek_byte(int fd);
// What the peer of a stream makes of it at once; unlike a close with unread data it tells a reset.
Result<> reset_on_close(int fd);

// What TCP_INFO tells.
struct TcpInfo {
  int state = 0;                            // TCP_ESTABLISHED ... of netinet/tcp.h
  uint64_t acknowledged = 0, received = 0;  // bytes; a SYN sent and a FIN received count as one
  uint32_t segments_received = 0;
  uint32_t not_sent = 0;
  uint32_t ms_since_sent = 0;         // data; of a connection that has sent none, since it is one
  uint32_t waiting = 0, backlog = 0;  // of a listener: connections not accepted yet, and how many may be
};
Result<TcpInfo> tcp_info(int fd);

// Of a group of SO_REUSEPORT sockets: what arrives goes to the member with this number, counted in the order in which
// they were bound. Any member will do as `fd`; nothing gives the choice back to the kernel.
Result<> choose_member(int fd, std::optional<uint32_t> number);

}  // namespace stint::sys
