#include "net/tcp_connect.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "net/local_port.h"
#include "sys/clock.h"
#include "sys/inet.h"
#include "sys/network.h"
#include "sys/poll.h"
#include "sys/sock_diag.h"
#include "sys/socket.h"

namespace stint::net {
namespace {

constexpr int kPatienceMs = 5000;  // for what this host does with itself at once

Result<sys::UniqueFd> make_socket(const Place& place) {
  int domain = place.v6 ? AF_INET6 : AF_INET, type = SOCK_STREAM | SOCK_NONBLOCK;
  sys::UniqueFd fd = TRY(place.network < 0 ? sys::socket(domain, type, IPPROTO_TCP)
                                           : sys::socket_in(place.network, domain, type, IPPROTO_TCP));
  if (place.v6) TRY(sys::set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, place.v6_only ? 1 : 0));
  return fd;
}

Result<bool> wait_for(int fd, short events) {
  pollfd one{.fd = fd, .events = events, .revents = 0};
  return sys::poll({&one, 1}, kPatienceMs);
}

// The connection that comes from `from`; what else comes to the listener meanwhile is turned away.
Result<sys::UniqueFd> accept_from(int listener, const InetAddress& from) {
  for (int64_t start = sys::monotonic_ms(); sys::monotonic_ms() - start < kPatienceMs;) {
    std::optional<sys::UniqueFd> accepted = TRY(sys::accept_now(listener));
    if (!accepted) {
      TRY(wait_for(listener, POLLIN));
      continue;
    }
    std::optional<InetAddress> peer = TRY(sys::peer_address(accepted->get()));
    if (peer && same_place(*peer, from)) return std::move(*accepted);
  }
  return failed(fmt::format("a connection from {} does not arrive (is it filtered?)", to_text(from)));
}

// One TIME_WAIT; where it cannot be reached it stays.
void end_one(const sys::InetSocket& left) {
  Result<sys::UniqueFd> from = make_client({.v6 = left.local.v6, .address = left.remote});
  if (from.has_value()) (void)sys::connect(from->get(), left.local);
}

}  // namespace

Result<> bind_again(int fd, const InetAddress& address) {
  TRY(sys::set_socket_option(fd, SO_REUSEADDR, 1));
  Result<> bound = sys::bind(fd, address);
  if (bound.has_value()) return {};
  return not_free(IPPROTO_TCP, address, std::move(bound).error());
}

Result<sys::UniqueFd> make_client(const Place& place) {
  sys::UniqueFd client = TRY(make_socket(place));
  uint16_t port = place.address.port;
  if (place.network >= 0 || port == 0 || !is_ephemeral(port) || !TRY(choose_port(client.get(), port))) {
    TRY(bind_again(client.get(), place.address));
    return client;
  }
  TRY(sys::set_option(client.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
  TRY(bind_again(client.get(), place.address.with_port(0)));
  TRY(sys::set_option(client.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0));
  return client;
}

Result<> start_connecting(int client, const InetAddress& local, const InetAddress& remote) {
  Result<bool> connected = sys::connect(client, remote);
  if (!connected.has_value()) return not_free(IPPROTO_TCP, local, std::move(connected).error());
  (void)choose_port(client, 0);
  InetAddress own = TRY(sys::own_address(client));
  bool same_host = local.any() || same_place(own.with_port(0), local.with_port(0));
  if (local.port == 0 || (own.port == local.port && same_host)) return {};
  return failed(fmt::format("the kernel chose another address than {}", to_text(local)));
}

Result<> finish_connecting(int client, const InetAddress& remote) {
  TRY(wait_for(client, POLLOUT));
  if (TRY(sys::tcp_info(client)).state == TCP_ESTABLISHED) return {};
  return failed(fmt::format("a connection to {} does not come about (is it filtered?)", to_text(remote)));
}

Result<Connection> connect_both(const Place& client, const Place& server) {
  sys::UniqueFd listener = TRY(make_socket(server));
  TRY(bind_again(listener.get(), server.address));
  TRY(sys::listen(listener.get(), 16));
  InetAddress remote = TRY(sys::own_address(listener.get()));
  sys::UniqueFd from = TRY(make_client(client));
  TRY(start_connecting(from.get(), client.address, client.v6 ? remote.as_v6() : remote.unmapped()));
  sys::UniqueFd to = TRY(accept_from(listener.get(), TRY(sys::own_address(from.get()))));
  TRY(finish_connecting(from.get(), remote));
  return Connection{.client = std::move(from), .server = std::move(to)};
}

Result<sys::UniqueFd> make_refused(const Place& place) {
  // Bound, but not listening: refuses for certain.
  Place beside = place;
  beside.address.port = 0;
  sys::UniqueFd closed = TRY(make_socket(beside));
  TRY(bind_again(closed.get(), beside.address));
  sys::UniqueFd client = TRY(make_client(place));
  TRY(start_connecting(client.get(), place.address, TRY(sys::own_address(closed.get()))));
  TRY(wait_for(client.get(), POLLERR));
  return client;
}

Result<> end_time_wait(const std::vector<uint16_t>& ports) {
  sys::SockDiag diag = TRY(sys::SockDiag::open());
  constexpr uint32_t kLeftOver = 1u << TCP_TIME_WAIT | 1u << TCP_FIN_WAIT2;
  for (const sys::InetSocket& left : TRY(diag.all(IPPROTO_TCP, kLeftOver)))
    if (left.inode == 0 && std::ranges::find(ports, left.local.port) != ports.end()) end_one(left);
  return {};
}

}  // namespace stint::net
