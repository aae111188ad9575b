// Sockets: what they are, what waits in them, their options.
#pragma once

#include <sys/socket.h>

#include <utility>

#include "base/bytes.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

Result<UniqueFd> socket(int domain, int type, int protocol);
Result<std::pair<UniqueFd, UniqueFd>> socket_pair(int type);  // AF_UNIX; `type`: SOCK_*

Result<int> socket_option(int fd, int name);  // SOL_SOCKET
Result<> set_socket_option(int fd, int name, int value);
// Of whatever size it is.
Result<Bytes> socket_option_bytes(int fd, int name);
Result<> set_socket_option_bytes(int fd, int name, ByteView value);
// The kernel keeps twice what it is asked for; `bytes` is what SO_SNDBUF and SO_RCVBUF show. Goes beyond
// net.core.wmem_max and rmem_max with CAP_NET_ADMIN only; says what it became.
Result<int> set_send_buffer(int fd, int bytes);
Result<int> set_receive_buffer(int fd, int bytes);

Result<> listen(int fd, int backlog);
Result<> shut_down(int fd, int how);  // SHUT_*
// MSG_DONTWAIT, MSG_NOSIGNAL. A stream may take a part: that is an error here.
Result<> send_now(int fd, ByteView message);

// All that waits in a stream socket of any family.
Result<Bytes> peek_stream(int fd);

}  // namespace stint::sys
