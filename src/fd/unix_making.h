// Unix sockets made again. They hang together: a connection needs a listener with the right name, who connected shows
// in it, and of two datagram sockets either may be connected to the other or not. So when the first one of a job is
// asked for, all are made; when the first is settled, the messages are put into all of them.
#pragma once

#include <functional>

#include "fd/kind.h"
#include "sys/child.h"

namespace stint::fd {

struct UnixSocket {
  image::UnixSocketRecord record;
  sys::UniqueFd fd;   // until it is taken; then context.made has it
  sys::UniqueFd way;  // O_PATH, of the file of its name: /proc/self/fd/N leads to it, wherever the name does
  // The other end of the pair that it was made in: a socket of the job, or one of our own that stands for a peer that
  // is gone until all is settled.
  uint64_t partner = 0;
  sys::UniqueFd other;
};

struct UnixSockets {
  std::map<uint64_t, UnixSocket> by_inode;
  bool settled = false;
};

// The socket with this (old) inode number.
Result<sys::UniqueFd> take_unix_socket(uint64_t inode, RestoreContext& context);

// When all descriptions are there: messages are sent, datagram sockets connected, what was closed is closed. Does its
// work the first time, and nothing later.
Result<> settle_unix_sockets(RestoreContext& context);

// The parts of these, by kind of socket.

Result<> make_streams(UnixSockets& sockets);  // and seqpacket sockets
Result<> make_datagrams(UnixSockets& sockets);
Result<> send_what_waited(UnixSockets& sockets, const RestoreContext& context);
Result<> connect_datagrams(UnixSockets& sockets, const RestoreContext& context);

// Makes the calls whose caller the kernel notes as this process and user.
Result<sys::MadeFds> as_caller(const std::optional<image::Credentials>& caller,
                               const std::function<Result<sys::MadeFds>()>& work);
// Two ends of a pair that this caller made.
Result<std::pair<sys::UniqueFd, sys::UniqueFd>> make_socket_pair(int type,
                                                                 const std::optional<image::Credentials>& caller);
// Binds to a name, whatever it is; gives the way to it where it is a path. With a file others can reach it.
Result<sys::UniqueFd> bind_to(int fd, const std::string& name, const std::optional<image::SocketFile>& file);
// What to connect to, or send to, in place of the name.
std::string address(const std::string& name, const sys::UniqueFd& way);

}  // namespace stint::fd
