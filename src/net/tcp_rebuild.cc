#include "net/tcp_rebuild.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>

#include "net/apart.h"
#include "net/protocol_options.h"
#include "net/tcp_connect.h"
#include "net/tcp_queue.h"
#include "sys/clock.h"
#include "sys/inet.h"
#include "sys/socket.h"

namespace stint::net {
namespace {

using image::ProtocolOption;
using image::TcpRecord;
using image::TcpState;

// An accepted socket shows the hops that its peer's first segment had left, and no call can change that; a new one
// shows the default, which is not recorded.
bool was_accepted(const TcpRecord& record) {
  return std::ranges::any_of(record.options, [](const ProtocolOption& option) {
    return (option.level == IPPROTO_IP && option.name == IP_MULTICAST_TTL) ||
           (option.level == IPPROTO_IPV6 && option.name == IPV6_MULTICAST_HOPS);
  });
}

bool v6_only(const TcpRecord& record) {
  return std::ranges::any_of(record.options, [](const ProtocolOption& option) {
    return option.level == IPPROTO_IPV6 && option.name == IPV6_V6ONLY && !option.value.empty() &&
           option.value[0] != std::byte{0};
  });
}

Place place_of(const TcpRecord& record) {
  return {.v6 = record.v6, .v6_only = v6_only(record), .address = record.local};
}

std::string title(const TcpRecord& record) {
  if (record.remote.port == 0) return fmt::format("TCP socket at {}", to_text(record.local));
  return fmt::format("TCP connection from {} to {}", to_text(record.local), to_text(record.remote));
}

class Rebuild {
 public:
  explicit Rebuild(const std::vector<TcpRecord>& records) : records_(records) {
    for (const TcpRecord& record : records) by_inode_[record.socket] = &record, ++sharing_[record.local.port];
  }

  Result<std::map<uint64_t, sys::UniqueFd>> run() {
    TRY(make_room());
    TRY(each(&Rebuild::connect));
    TRY(each(&Rebuild::bind));
    TRY(each(&Rebuild::listen));
    TRY(connect_waiting());
    TRY(each(&Rebuild::fill));
    TRY(each(&Rebuild::shut));
    TRY(each(&Rebuild::set_all));
    return std::move(made_);
  }

 private:
  Result<> each(Result<> (Rebuild::*step)(const TcpRecord&)) {
    for (const TcpRecord& record : records_) TRY((this->*step)(record).in(title(record)));
    return {};
  }

  Result<> make_room() {
    std::vector<uint16_t> ports;
    for (const TcpRecord& record : records_) {
      if (record.local.port != 0 && !record.apart) ports.push_back(record.local.port);
      bool alone = record.state == TcpState::kConnected && record.peer == 0 && !record.waiting && !record.apart;
      if (alone) ports.push_back(record.remote.port);  // What it left, when it went before this end.
    }
    return ports.empty() ? Result<>() : end_time_wait(ports);
  }

  // Many sockets share the port of a server, and few that of a client.
  bool is_server(const TcpRecord& record) const {
    auto peer = by_inode_.find(record.peer);
    size_t own = sharing_.at(record.local.port);
    if (peer == by_inode_.end()) return own > 1 || was_accepted(record);
    size_t others = sharing_.at(peer->second->local.port);
    return own != others ? own > others : record.local.port < peer->second->local.port;
  }

  Result<Place> whereabouts(const TcpRecord& record, Place place) {
    if (!record.apart) return place;
    if (!apart_) apart_ = TRY(Apart::make());
    return apart_->place(place);
  }

  // Connections whose other end is in the job and accepted, or gone.
  Result<> connect(const TcpRecord& record) {
    if (made_.contains(record.socket)) return {};
    if (record.state == TcpState::kEnded) return connect_ended(record);
    if (record.state == TcpState::kRefused || record.state == TcpState::kRefusedTold ||
        record.state == TcpState::kFailed)
      return connect_refused(record);
    if (record.state != TcpState::kConnected || record.waiting) return {};
    if (record.peer == record.socket) return connect_to_itself(record);
    Place own_place = TRY(whereabouts(record, place_of(record)));
    Place peer = TRY(whereabouts(record, {.v6 = record.v6, .address = record.remote}));
    auto found = by_inode_.find(record.peer);
    if (record.peer != 0) {
      if (found == by_inode_.end()) return damaged("TCP record: its other end is not there");
      peer = place_of(*found->second);
    }
    bool server = is_server(record);
    Connection connection = TRY(server ? connect_both(peer, own_place) : connect_both(own_place, peer));
    sys::UniqueFd& own = made_[record.socket] = std::move(server ? connection.server : connection.client);
    sys::UniqueFd& other = server ? connection.client : connection.server;
    if (record.peer == 0) return fill_queue(other.get(), own.get(), record.queued);  // ... and closes the other.
    made_[record.peer] = std::move(other);
    return {};
  }

  // A connect to the very address that it comes from: TCP allows for it, and a job may have it.
  Result<> connect_to_itself(const TcpRecord& record) {
    sys::UniqueFd fd = TRY(make_client(place_of(record)));
    TRY(start_connecting(fd.get(), record.local, record.remote));
    TRY(finish_connecting(fd.get(), record.remote));
    made_[record.socket] = std::move(fd);
    return {};
  }

  Result<> connect_ended(const TcpRecord& record) {
    Place own_place = TRY(whereabouts(record, place_of(record)));
    Place peer = own_place;
    peer.address.port = 0;
    Connection connection = TRY(connect_both(peer, own_place));
    TRY(fill_queue(connection.client.get(), connection.server.get(), record.queued));
    made_[record.socket] = std::move(connection.server);
    return {};
  }

  Result<> connect_refused(const TcpRecord& record) {
    sys::UniqueFd fd = TRY(make_refused(place_of(record)));
    // Who asks takes the error away; a second connect(2) also gives the address back.
    if (record.state == TcpState::kRefusedTold) TRY(sys::socket_option(fd.get(), SO_ERROR));
    if (record.state == TcpState::kFailed) (void)sys::connect(fd.get(), record.local);
    made_[record.socket] = std::move(fd);
    return {};
  }

  Result<> bind(const TcpRecord& record) {
    if (record.state != TcpState::kUnconnected && record.state != TcpState::kListening) return {};
    sys::UniqueFd fd = TRY(sys::socket(record.v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, IPPROTO_TCP));
    TRY(set_options(fd.get(), record.options, When::kNew));
    TRY(set_buffers(fd.get(), record.buffers));
    if (record.reuse_port) TRY(sys::set_socket_option(fd.get(), SO_REUSEPORT, 1));
    if (record.local.port != 0 || !record.local.any()) TRY(bind_again(fd.get(), record.local));
    made_[record.socket] = std::move(fd);
    return {};
  }

  Result<> listen(const TcpRecord& record) {
    if (record.state != TcpState::kListening) return {};
    int fd = made_.at(record.socket).get();
    TRY(sys::listen(fd, record.backlog));
    if (TRY(sys::tcp_info(fd)).backlog != static_cast<uint32_t>(record.backlog))
      return unfit(fmt::format("a backlog of {}: raise net.core.somaxconn", record.backlog));
    if (record.reuse_port) members_[record.local].push_back(record.socket);
    return {};
  }

  // In the order in which they came.
  Result<> connect_waiting() {
    std::vector<const TcpRecord*> waiting;
    for (const TcpRecord& record : records_)
      if (record.waiting) waiting.push_back(&record);
    std::ranges::sort(waiting, [](const TcpRecord* a, const TcpRecord* b) {
      return std::pair(b->waiting_for_ms, a->socket) < std::pair(a->waiting_for_ms, b->socket);
    });
    // Those that are still on their way found no room: they come after those that wait.
    std::ranges::stable_partition(waiting,
                                  [](const TcpRecord* record) { return record->state == TcpState::kConnected; });
    for (const TcpRecord* record : waiting) {
      TRY(connect_to_listener(*record).in(title(*record)));
      sys::wait_for_tick();  // The next checkpoint tells them apart by their age.
    }
    return {};
  }

  Result<> connect_to_listener(const TcpRecord& record) {
    auto listener = by_inode_.find(record.listener);
    if (listener == by_inode_.end() || listener->second->state != TcpState::kListening)
      return damaged("TCP record: its listener is not there");
    auto group = members_.find(listener->second->local);
    if (group != members_.end()) {
      auto member = std::ranges::find(group->second, record.listener);
      TRY(sys::choose_member(made_.at(record.listener).get(), static_cast<uint32_t>(member - group->second.begin())));
    }
    sys::UniqueFd fd = TRY(make_client(place_of(record)));
    TRY(start_connecting(fd.get(), record.local, record.remote));
    if (record.state == TcpState::kConnected) TRY(finish_connecting(fd.get(), record.remote));
    if (group != members_.end()) TRY(sys::choose_member(made_.at(record.listener).get(), std::nullopt));
    made_[record.socket] = std::move(fd);
    return {};
  }

  Result<> fill(const TcpRecord& record) {
    if (record.queued.empty() || record.peer == 0) return {};
    auto peer = made_.find(record.peer);
    if (peer == made_.end()) return damaged("TCP record: data that nobody can have sent");
    return fill_queue(peer->second.get(), made_.at(record.socket).get(), record.queued);
  }

  Result<> shut(const TcpRecord& record) {
    if (record.state != TcpState::kConnected && record.state != TcpState::kEnded) return {};
    int fd = made_.at(record.socket).get();
    if (record.read_shut) TRY(sys::shut_down(fd, SHUT_RD));
    if (record.write_shut || record.state == TcpState::kEnded) TRY(sys::shut_down(fd, SHUT_WR));
    return {};
  }

  Result<> set_all(const TcpRecord& record) {
    int fd = made_.at(record.socket).get();
    if (record.state != TcpState::kUnconnected && record.state != TcpState::kListening) {
      TRY(set_buffers(fd, record.buffers));
      TRY(set_options(fd, record.options, When::kInUse));
      if (record.reuse_port) TRY(sys::set_socket_option(fd, SO_REUSEPORT, 1));
    }
    TRY(sys::set_socket_option(fd, SO_REUSEADDR, record.reuse_address ? 1 : 0));
    if (record.receive_low_water != 1) TRY(sys::set_socket_option(fd, SO_RCVLOWAT, record.receive_low_water));
    if (record.peek_offset >= 0) TRY(sys::set_socket_option(fd, SO_PEEK_OFF, record.peek_offset));
    return {};
  }

  const std::vector<TcpRecord>& records_;
  std::map<uint64_t, const TcpRecord*> by_inode_;
  std::map<uint16_t, size_t> sharing_;  // how many have the port
  std::optional<Apart> apart_;
  std::map<uint64_t, sys::UniqueFd> made_;                // by inode number
  std::map<InetAddress, std::vector<uint64_t>> members_;  // of SO_REUSEPORT groups, in the order of their numbers
};

}  // namespace

Result<std::map<uint64_t, sys::UniqueFd>> rebuild_tcp(const std::vector<TcpRecord>& records) {
  return Rebuild(records).run();
}

}  // namespace stint::net
