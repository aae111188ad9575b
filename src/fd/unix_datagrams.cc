// Datagram sockets made again. A connection of theirs is a default address, one way: A may be connected to B and B to
// C, or to nobody. Two without names can only have come from socketpair(2), which notes its caller in SO_PEERCRED; so
// whatever has that is made in a pair, and taken out of it again where its peer is another by now. Connections by name
// come after the messages: a connected socket takes messages from its peer alone, and may hold some that came before.
#include <sys/socket.h>

#include "fd/unix_making.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

using image::UnixSocketRecord;
using State = image::UnixSocketState;

// The socket that was made in one pair with this one, null when it is not in the job any more.
UnixSocket* partner_of(UnixSockets& sockets, UnixSocket& socket) {
  const UnixSocketRecord& record = socket.record;
  if (record.state != State::kConnected) return nullptr;
  UnixSocket& peer = sockets.by_inode.at(record.peer);
  if (&peer == &socket || peer.fd.valid() || peer.record.credentials != record.credentials) return nullptr;
  bool mutual = peer.record.state == State::kConnected && peer.record.peer == record.socket;
  return mutual || peer.record.name.empty() ? &peer : nullptr;
}

Result<> make_datagram(UnixSockets& sockets, UnixSocket& socket) {
  if (!socket.record.credentials) {
    socket.fd = TRY(sys::socket(AF_UNIX, SOCK_DGRAM, 0));
    return {};
  }
  auto [mine, other] = TRY(with_credentials_of(
      socket.record, [](const auto& credentials) { return make_socket_pair(SOCK_DGRAM, credentials); }));
  socket.fd = std::move(mine);
  if (UnixSocket* partner = partner_of(sockets, socket)) {
    partner->fd = std::move(other);
    socket.partner = partner->record.socket, partner->partner = socket.record.socket;
  } else {
    socket.other = std::move(other);
  }
  return {};
}

// Whether it is connected to the socket that it was made in a pair with.
bool stays_in_pair(const UnixSocket& socket) {
  if (socket.partner != 0) return socket.record.state == State::kConnected && socket.record.peer == socket.partner;
  return socket.record.state == State::kPeerGone && socket.other.valid();
}

}  // namespace

Result<> make_datagrams(UnixSockets& sockets) {
  // Those that are connected first: they know their partners.
  for (bool connected : {true, false})
    for (auto& [inode, socket] : sockets.by_inode) {
      if (socket.record.type != SOCK_DGRAM || socket.fd.valid()) continue;
      if ((socket.record.state == State::kConnected) == connected) TRY(make_datagram(sockets, socket));
    }
  for (auto& [inode, socket] : sockets.by_inode) {
    if (socket.record.type != SOCK_DGRAM) continue;
    socket.way = TRY(bind_to(socket.fd.get(), socket.record.name, socket.record.file));
    bool gone = socket.record.state == State::kPeerGone;
    if (gone && socket.other.valid()) TRY(bind_to(socket.other.get(), socket.record.peer_name, {}));
  }
  for (auto& [inode, socket] : sockets.by_inode) {
    bool paired = socket.partner != 0 || socket.other.valid();
    if (socket.record.type == SOCK_DGRAM && paired && !stays_in_pair(socket)) TRY(sys::disconnect(socket.fd.get()));
  }
  return {};
}

namespace {

class Connecting {
 public:
  Connecting(UnixSockets& sockets, const RestoreContext& context) : sockets_(sockets), context_(context) {}

  // A socket that is connected to another takes no connection any more: those that lead to this one come first.
  Result<> connect(UnixSocket& socket) {
    if (!seen_.insert(socket.record.socket).second) return {};
    for (auto& [inode, client] : sockets_.by_inode)
      if (client.record.state == State::kConnected && client.record.peer == socket.record.socket) TRY(connect(client));
    if (socket.record.type != SOCK_DGRAM || socket.record.state == State::kAlone || stays_in_pair(socket)) return {};
    return connect_to_peer(socket.record);
  }

 private:
  Result<> connect_to_peer(const UnixSocketRecord& record) {
    int fd = context_.made.at(record.description.id);
    if (record.state == State::kOutside) {
      std::string to = record.peer_path.empty() ? record.peer_name : record.peer_path;
      return sys::connect_unix(fd, to).in("a unix socket that sends to " + to).as(ErrorKind::kUnfit);
    }
    if (record.state == State::kPeerGone) {
      sys::UniqueFd peer = TRY(sys::socket(AF_UNIX, SOCK_DGRAM, 0));
      sys::UniqueFd way = TRY(bind_to(peer.get(), record.peer_name, {}));
      return sys::connect_unix(fd, address(record.peer_name, way));
    }
    const UnixSocket& peer = sockets_.by_inode.at(record.peer);
    if (peer.record.name.empty()) return damaged("unix socket record: its peer has no name");
    return sys::connect_unix(fd, address(peer.record.name, peer.way));
  }

  UnixSockets& sockets_;
  const RestoreContext& context_;
  std::set<uint64_t> seen_;
};

}  // namespace

Result<> connect_datagrams(UnixSockets& sockets, const RestoreContext& context) {
  Connecting connecting(sockets, context);
  for (auto& [inode, socket] : sockets.by_inode)
    if (socket.record.type == SOCK_DGRAM) TRY(connecting.connect(socket));
  return {};
}

}  // namespace stint::fd
