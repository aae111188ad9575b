// Unix sockets: names, connections, what sock_diag(7) tells of them, and what waits in them.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

// A name is what follows the family in a sockaddr_un: a path with its NUL, or a NUL and an abstract name; empty: none.
Result<std::string> socket_name(int fd);
// Of the other end, even when that is closed; empty also when there never was one.
Result<std::string> peer_name(int fd);
Result<> bind_unix(int fd, std::string_view name);
// Does not wait: EAGAIN when the listener's queue is full.
Result<> connect_unix(int fd, std::string_view name);
// Takes the connection of a datagram socket away, and with it whatever waits in the socket.
Result<> disconnect(int fd);
Result<UniqueFd> accept(int fd);
// SO_PEERCRED: who was at the other end when the connection was made (of a listener: who made it listen), its number as
// our pid namespace has it. Nothing where there was nobody.
Result<std::optional<ucred>> peer_credentials(int fd);

// What sock_diag(7) knows of a unix socket.
struct UnixSocketState {
  bool listens = false;
  bool has_peer = false;  // is or was connected
  uint64_t peer = 0;      // its inode number; 0 once it is closed, and as long as nobody has accepted the connection
  bool read_shut = false, write_shut = false;
  std::optional<uint32_t> file;   // inode number (its lower half) of the file that it is bound to
  std::vector<uint32_t> waiting;  // of a listener: the sockets whose connections wait, in order; 0 for a closed one
  uint32_t backlog = 0;           // likewise
};
// Nothing when there is no such socket in that network namespace; -1: ours.
Result<std::optional<UnixSocketState>> unix_socket_state(uint64_t inode, int network = -1);

struct UnixMessage {
  Bytes bytes;
  std::string sender;                     // the name of the socket that it came from
  std::vector<UniqueFd> descriptors;      // SCM_RIGHTS: duplicates of those that wait
  std::optional<ucred> credentials = {};  // only where the socket has SO_PASSCRED
};
// All that waits in a unix socket, left where it is: SO_PEEK_OFF goes from message to message. Of a stream, bytes that
// carry nothing are one message; those that carry descriptors are one of their own, as they were sent. An empty
// datagram shows only the first time. Other than of a stream, an error that waits in the socket is taken away: look
// (poll) before. `ended`: a seqpacket socket whose other end will send no more.
Result<std::vector<UnixMessage>> peek_messages(int fd, bool ended);

struct OutgoingMessage {
  ByteView bytes;
  std::string_view to = {};  // a name; empty: to where the socket is connected
  std::span<const int> descriptors = {};
  std::optional<ucred> credentials = {};
};
// MSG_DONTWAIT, MSG_NOSIGNAL. A stream may take a part: that is an error here.
Result<> send_unix(int fd, const OutgoingMessage& message);

// Bytes of kernel memory that what this socket has sent, and nobody has received, takes (SIOCOUTQ).
Result<int> bytes_sent_unread(int fd);

}  // namespace stint::sys
