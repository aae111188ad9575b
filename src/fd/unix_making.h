// Unix sockets made again. They hang together: a connection needs a listener with the right name, who connected shows
// in it, and of two datagram sockets either may be connected to the other or not. So when the first one of a job is
// asked for, all are made; when the first is settled, the messages are put into all of them.
#pragma once

#include <functional>

#include "fd/kind.h"
#include "sys/child.h"
#include "sys/process.h"

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
  sys::UniqueFd network;  // for those that are apart (sys/network.h)
  bool settled = false;
};

// The socket with this (old) inode number.
Result<sys::UniqueFd> take_unix_socket(uint64_t inode, RestoreContext& context);

// When all descriptions are there: messages are sent, datagram sockets connected, what was closed is closed. Does its
// work the first time, and nothing later.
Result<> settle_unix_sockets(RestoreContext& context);

// What sock_diag(7) tells of a socket of the job, also when that is of a network namespace of its own, where a restart
// has made it; nothing when it is of any other.
struct SeenUnixSocket {
  sys::UnixSocketState state;
  bool apart = false;
};
Result<std::optional<SeenUnixSocket>> look_at_unix_socket(const Facts& facts);

// The parts of these, by kind of socket.

Result<> make_streams(UnixSockets& sockets);  // and seqpacket sockets
Result<> make_datagrams(UnixSockets& sockets);
Result<> send_what_waited(UnixSockets& sockets, const RestoreContext& context);
Result<> connect_datagrams(UnixSockets& sockets, const RestoreContext& context);

// Makes the calls whose caller the kernel notes as this process and user.
Result<sys::MadeFds> as_caller(const std::optional<image::Credentials>& caller,
                               const std::function<Result<sys::MadeFds>()>& work);
// What `make` makes with these credentials; of a socket that was cut off from a peer outside, who is there still or is
// nobody that we can be, with those of a process of ours that has ended, where the right ones cannot be had.
template <class Make>
auto with_credentials_of(const image::UnixSocketRecord& record, const Make& make) {
  auto made = make(record.credentials);
  if (made.has_value() || !record.cut_off || !record.credentials) return made;
  constexpr int kAny = 0;
  return make(image::Credentials{kAny, sys::effective_user(), sys::effective_group()});
}
// Two ends of a pair that this caller made.
Result<std::pair<sys::UniqueFd, sys::UniqueFd>> make_socket_pair(int type,
                                                                 const std::optional<image::Credentials>& caller);
// Binds to a name, whatever it is; gives the way to it where it is a path. With a file others can reach it.
Result<sys::UniqueFd> bind_to(int fd, const std::string& name, const std::optional<image::SocketFile>& file);
// What to connect to, or send to, in place of the name.
std::string address(const std::string& name, const sys::UniqueFd& way);

}  // namespace stint::fd
