// Stream and seqpacket sockets made again. What accept(2) gives has the name of the listener, also when that is long
// gone, so a connection with a name is made through a listener of our own that has it for a moment. SO_PEERCRED shows
// at a client who made the listener listen, and at an accepted socket who connected. The job's own listeners come last,
// when their names are free, and the connections that wait in them.
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>

#include "fd/unix_making.h"
#include "sys/network.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

using image::UnixSocketRecord;
using State = image::UnixSocketState;

// One end of a connection.
struct End {
  std::string name;
  std::optional<image::Credentials> sees;  // its SO_PEERCRED
};

struct Connection {
  sys::UniqueFd client, accepted;
};

Result<> listen_as(int listener, const std::optional<image::Credentials>& caller, int backlog) {
  TRY(as_caller(caller, [&]() -> Result<sys::MadeFds> {
    TRY(sys::listen(listener, backlog));
    return sys::MadeFds{-1, -1};
  }));
  return {};
}

Result<> connect_as(int client, const std::optional<image::Credentials>& caller, const std::string& to) {
  TRY(as_caller(caller, [&]() -> Result<sys::MadeFds> {
    TRY(sys::connect_unix(client, to));
    return sys::MadeFds{-1, -1};
  }));
  return {};
}

// What both ends are: sockets of a type, in a network namespace (sys/network.h), -1 for ours.
struct Sort {
  int type;
  int network = -1;
};

Result<sys::UniqueFd> make_socket(const Sort& sort) {
  if (sort.network < 0) return sys::socket(AF_UNIX, sort.type, 0);
  return sys::socket_in(sort.network, AF_UNIX, sort.type, 0);
}

Result<Connection> connect_through_listener(const Sort& sort, const End& client, const End& accepted) {
  sys::UniqueFd listener = TRY(make_socket(sort));
  sys::UniqueFd way = TRY(bind_to(listener.get(), accepted.name, {}));
  TRY(listen_as(listener.get(), client.sees, 1));
  Connection made;
  made.client = TRY(make_socket(sort));
  TRY(bind_to(made.client.get(), client.name, {}));
  TRY(connect_as(made.client.get(), accepted.sees, address(accepted.name, way)));
  made.accepted = TRY(sys::accept(listener.get()));
  return made;
}

// Which of two named ends has its name from a listener. Where neither has one in the job, they are alike.
bool is_listeners_name(const UnixSockets& sockets, int type, const std::string& name) {
  return std::ranges::any_of(sockets.by_inode, [&](const auto& entry) {
    const UnixSocketRecord& record = entry.second.record;
    return record.state == State::kListens && record.type == type && record.name == name;
  });
}

// `mine` is an end of the job; the other one is, or was until it went.
Result<std::pair<sys::UniqueFd, sys::UniqueFd>> make_ends(const UnixSockets& sockets, const Sort& sort, const End& mine,
                                                          const End& other) {
  if (mine.name.empty() && other.name.empty()) return make_socket_pair(sort.type, mine.sees);
  bool accepted = other.name.empty() || (!mine.name.empty() && !is_listeners_name(sockets, sort.type, other.name));
  Connection made =
      TRY(accepted ? connect_through_listener(sort, other, mine) : connect_through_listener(sort, mine, other));
  if (accepted) return std::pair(std::move(made.accepted), std::move(made.client));
  return std::pair(std::move(made.client), std::move(made.accepted));
}

Result<> make_connection(UnixSockets& sockets, UnixSocket& socket) {
  const UnixSocketRecord& record = socket.record;
  Sort sort{.type = record.type};
  if (record.state == State::kPeerGone) {
    if (record.apart && !sockets.network.valid()) sockets.network = TRY(sys::make_network());
    if (record.apart) sort.network = sockets.network.get();
    std::tie(socket.fd, socket.other) = TRY(with_credentials_of(record, [&](const auto& credentials) {
      return make_ends(sockets, sort, {record.name, credentials}, {record.peer_name, std::nullopt});
    }));
    return {};
  }
  End mine{record.name, record.credentials};
  UnixSocket& peer = sockets.by_inode.at(record.peer);
  std::tie(socket.fd, peer.fd) = TRY(make_ends(sockets, sort, mine, {peer.record.name, peer.record.credentials}));
  socket.partner = record.peer, peer.partner = record.socket;
  return {};
}

Result<> make_unconnected(UnixSocket& socket) {
  socket.fd = TRY(sys::socket(AF_UNIX, socket.record.type, 0));
  socket.way = TRY(bind_to(socket.fd.get(), socket.record.name, socket.record.file));
  return {};
}

// Clients connect in the order in which they will be accepted.
Result<> make_listener(UnixSockets& sockets, UnixSocket& socket) {
  const UnixSocketRecord& record = socket.record;
  TRY(make_unconnected(socket));
  int listener = socket.fd.get();
  int room = static_cast<int>(std::max<size_t>(record.backlog, record.waiting.size()));
  std::string to = address(record.name, socket.way);
  for (uint64_t inode : record.waiting) {
    UnixSocket& client = sockets.by_inode.at(inode);
    TRY(listen_as(listener, client.record.credentials, room));
    TRY(make_unconnected(client));
    TRY(connect_as(client.fd.get(), client.record.holder, to).in("a connection that nobody has accepted yet"));
  }
  return listen_as(listener, record.credentials, static_cast<int>(record.backlog));
}

std::string title(const UnixSocketRecord& record) {
  if (record.name.empty()) return "unix socket";
  if (record.name.front() == '\0') return "unix socket @" + record.name.substr(1);
  return "unix socket " + record.name.substr(0, record.name.find('\0'));
}

}  // namespace

Result<> make_streams(UnixSockets& sockets) {
  auto each = [&](auto wanted, auto make) -> Result<> {
    for (auto& [inode, socket] : sockets.by_inode) {
      if (socket.record.type == SOCK_DGRAM || socket.fd.valid() || !wanted(socket.record.state)) continue;
      TRY(make(socket).in(title(socket.record)));
    }
    return {};
  };
  TRY(each([](State state) { return state == State::kConnected || state == State::kPeerGone; },
           [&](UnixSocket& socket) { return make_connection(sockets, socket); }));
  TRY(each([](State state) { return state == State::kAlone; }, make_unconnected));
  return each([](State state) { return state == State::kListens; },
              [&](UnixSocket& socket) { return make_listener(sockets, socket); });
}

}  // namespace stint::fd
