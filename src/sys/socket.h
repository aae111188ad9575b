// Sockets: what they are, what waits in them, their options.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

Result<UniqueFd> socket(int domain, int type, int protocol);
Result<std::pair<UniqueFd, UniqueFd>> socket_pair(int type);  // AF_UNIX; `type`: SOCK_*

Result<int> socket_option(int fd, int name);  // SOL_SOCKET
Result<> set_socket_option(int fd, int name, int value);
// SO_RCVTIMEO or SO_SNDTIMEO; 0: none.
Result<int64_t> socket_timeout_us(int fd, int name);
Result<> set_socket_timeout_us(int fd, int name, int64_t microseconds);
// The kernel keeps twice what it is asked for; `bytes` is what SO_SNDBUF and SO_RCVBUF show. Goes beyond
// net.core.wmem_max and rmem_max with CAP_NET_ADMIN only; says what it became.
Result<int> set_send_buffer(int fd, int bytes);
Result<int> set_receive_buffer(int fd, int bytes);

// Whether the socket, or the one at its other end, has an address.
Result<bool> has_name(int fd);
Result<bool> peer_has_name(int fd);
Result<> shut_down(int fd, int how);  // SHUT_*
// MSG_DONTWAIT, MSG_NOSIGNAL. A stream may take a part: that is an error here.
Result<> send_now(int fd, ByteView message);

// What sock_diag(7) knows of a unix socket of this network namespace.
struct UnixSocketState {
  bool has_peer = false;  // is or was connected
  uint64_t peer = 0;      // its inode number; 0 once it is closed
  bool read_shut = false, write_shut = false;
};
// Nothing when there is no such socket here.
Result<std::optional<UnixSocketState>> unix_socket_state(uint64_t inode);

struct PeekedMessage {
  Bytes bytes;
  bool carries_descriptors = false;  // SCM_RIGHTS
};
// All that waits in a unix socket, left where it is: SO_PEEK_OFF goes from message to message. A stream gives its
// pieces. An empty datagram shows only the first time. Other than of a stream, an error that waits in the socket is taken
// away: look (poll) before.
Result<std::vector<PeekedMessage>> peek_messages(int fd);
// All that waits in a stream socket of any family.
Result<Bytes> peek_stream(int fd);

}  // namespace stint::sys
