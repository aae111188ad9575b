#include "sys/sock_diag.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "sys/call.h"
#include "sys/network.h"
#include "sys/socket.h"

namespace stint::sys {
namespace {

struct Request {
  nlmsghdr header;
  inet_diag_req_v2 request;
};

Request make_request(int family, int protocol, uint16_t flags) {
  Request ask{};
  ask.header = {.nlmsg_len = sizeof(ask),
                .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                .nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags),
                .nlmsg_seq = 1,
                .nlmsg_pid = 0};
  ask.request.sdiag_family = static_cast<uint8_t>(family);
  ask.request.sdiag_protocol = static_cast<uint8_t>(protocol);
  ask.request.idiag_states = ~0u;
  ask.request.id.idiag_cookie[0] = ask.request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  return ask;
}

InetAddress address_of(int family, const __be32* host, __be16 port, uint32_t interface) {
  InetAddress address;
  address.v6 = family == AF_INET6;
  address.port = ntohs(port);
  std::memcpy(address.host.data(), host, address.v6 ? 16 : 4);
  bool link_local = address.v6 && address.host[0] == 0xfe && (address.host[1] & 0xc0) == 0x80;
  if (link_local) address.scope = interface;
  return address;
}

// INET_DIAG_SHUTDOWN: RCV_SHUTDOWN and SEND_SHUTDOWN of the kernel.
void read_shutdown(const nlmsghdr& header, InetSocket& socket) {
  size_t from = NLMSG_ALIGN(sizeof(inet_diag_msg));
  const std::byte* start = static_cast<const std::byte*>(NLMSG_DATA(&header));
  int left = static_cast<int>(header.nlmsg_len - NLMSG_HDRLEN - from);
  for (const rtattr* attribute = reinterpret_cast<const rtattr*>(start + from); RTA_OK(attribute, left);
       attribute = RTA_NEXT(attribute, left)) {
    if (attribute->rta_type != INET_DIAG_SHUTDOWN) continue;
    uint8_t ways = *static_cast<const uint8_t*>(RTA_DATA(attribute));
    socket.read_shut = (ways & 1) != 0, socket.write_shut = (ways & 2) != 0;
  }
}

InetSocket read_socket(const nlmsghdr& header) {
  inet_diag_msg message{};
  std::memcpy(&message, NLMSG_DATA(&header), sizeof(message));
  InetSocket socket;
  socket.state = message.idiag_state;
  socket.inode = message.idiag_inode;
  int family = message.idiag_family;
  socket.local = address_of(family, message.id.idiag_src, message.id.idiag_sport, message.id.idiag_if);
  socket.remote = address_of(family, message.id.idiag_dst, message.id.idiag_dport, message.id.idiag_if);
  socket.receive_queue = message.idiag_rqueue, socket.send_queue = message.idiag_wqueue;
  socket.expires_ms = message.idiag_expires;
  read_shutdown(header, socket);
  return socket;
}

// Takes one datagram of answers. Whether more will come.
Result<bool> take_answers(int netlink, std::vector<InetSocket>& found) {
  alignas(nlmsghdr) std::array<std::byte, 32 << 10> answer;
  long got = TRY(call("recv", [&] { return ::recv(netlink, answer.data(), answer.size(), 0); }).in("sock_diag"));
  size_t left = static_cast<size_t>(got);
  bool more = false;
  for (const nlmsghdr* header = reinterpret_cast<const nlmsghdr*>(answer.data()); NLMSG_OK(header, left);
       header = NLMSG_NEXT(header, left)) {
    if (header->nlmsg_type == NLMSG_DONE) return false;
    if (header->nlmsg_type == NLMSG_ERROR) {
      int code = -reinterpret_cast<const nlmsgerr*>(NLMSG_DATA(header))->error;
      if (code == ENOENT) return false;
      return os_error("sock_diag (CONFIG_INET_DIAG)", code);
    }
    if (header->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg)))
      return failed("sock_diag: an answer that is cut short");
    found.push_back(read_socket(*header));
    more = (header->nlmsg_flags & NLM_F_MULTI) != 0;
  }
  return more;
}

}  // namespace

Result<SockDiag> SockDiag::open(int network) {
  return SockDiag(TRY(network < 0 ? sys::socket(AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG)
                                  : socket_in(network, AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG)));
}

Result<std::optional<InetSocket>> SockDiag::find_tcp(const InetAddress& local, const InetAddress& remote) {
  InetAddress from = local.unmapped(), to = remote.unmapped();
  int family = from.v6 ? AF_INET6 : AF_INET;
  Request ask = make_request(family, IPPROTO_TCP, 0);
  ask.request.id.idiag_sport = htons(from.port), ask.request.id.idiag_dport = htons(to.port);
  std::memcpy(ask.request.id.idiag_src, from.host.data(), 16);
  std::memcpy(ask.request.id.idiag_dst, to.host.data(), 16);
  ask.request.id.idiag_if = from.scope;
  TRY(call("send", [&] { return ::send(socket_.get(), &ask, sizeof(ask), 0); }).in("sock_diag"));
  std::vector<InetSocket> found;
  TRY(take_answers(socket_.get(), found));
  // The kernel gives the listener where it finds no connection.
  if (found.empty() || found[0].state == TCP_LISTEN) return std::optional<InetSocket>();
  return std::optional(found[0]);
}

Result<std::vector<InetSocket>> SockDiag::all(int protocol, uint32_t states) {
  std::vector<InetSocket> found;
  for (int family : {AF_INET, AF_INET6}) {
    Request ask = make_request(family, protocol, NLM_F_DUMP);
    ask.request.idiag_states = states;
    TRY(call("send", [&] { return ::send(socket_.get(), &ask, sizeof(ask), 0); }).in("sock_diag"));
    while (TRY(take_answers(socket_.get(), found))) {
    }
  }
  return found;
}

}  // namespace stint::sys
