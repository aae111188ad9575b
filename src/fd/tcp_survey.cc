#include "fd/tcp_survey.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>

#include "fd/socket.h"
#include "sys/network.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

Result<TcpEnd> look_at(const Facts& facts) {
  int fd = facts.ours.get();
  TcpEnd end{.facts = &facts, .info = TRY(sys::tcp_info(fd)), .local = TRY(sys::own_address(fd))};
  end.apart = TRY(sys::foreign_network(fd, facts.seen_as));
  if (end.info.state == TCP_SYN_SENT) {
    // getpeername(2) says no: sock_diag is asked for the peer.
    return end;
  }
  end.remote = TRY(sys::peer_address(fd));
  if (end.local.v6) end.v6_only = TRY(sys::option(fd, IPPROTO_IPV6, IPV6_V6ONLY)) != 0;
  return end;
}

// What waits to be accepted is in none of these states.
bool is_closed(int state) {
  return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING || state == TCP_LAST_ACK ||
         state == TCP_TIME_WAIT;
}

Result<> relate_apart(TcpEnd& end) {
  sys::SockDiag diag = TRY(sys::SockDiag::open(end.apart->get()));
  end.stranger = TRY(diag.find_tcp(*end.remote, end.local));
  end.peer_closed = !end.stranger || (end.stranger->inode == 0 && is_closed(end.stranger->state));
  return {};
}

bool same_address(const TcpEnd& a, const TcpEnd& b) { return a.local == b.local; }

}  // namespace

Result<std::shared_ptr<const TcpSurvey>> TcpSurvey::make(const CaptureContext& context) {
  std::shared_ptr<TcpSurvey> survey = std::make_shared<TcpSurvey>();
  TRY(survey->look(context));
  TRY(survey->relate());
  survey->share_out();
  return std::shared_ptr<const TcpSurvey>(std::move(survey));
}

Result<> TcpSurvey::look(const CaptureContext& context) {
  for (const auto& [inode, facts] : context.by_inode)
    if (is_internet_socket(*facts, IPPROTO_TCP) && !ends_.contains(inode)) ends_[inode] = TRY(look_at(*facts));
  return {};
}

// An exact address comes before one that stands for all.
const TcpEnd* TcpSurvey::find_listener(const InetAddress& address) const {
  const TcpEnd* any = nullptr;
  for (const auto& [inode, end] : ends_) {
    if (end.info.state != TCP_LISTEN || end.local.port != address.port) continue;
    if (same_place(end.local, address)) return &end;
    bool v4 = !address.unmapped().v6;
    if (end.local.any() && (v4 ? !end.local.v6 || !end.v6_only : end.local.v6)) any = &end;
  }
  return any;
}

Result<> TcpSurvey::relate() {
  std::map<std::pair<InetAddress, InetAddress>, const TcpEnd*> by_addresses;
  for (auto& [inode, end] : ends_)
    if (end.remote && !end.apart) by_addresses[{end.local.unmapped(), end.remote->unmapped()}] = &end;
  std::optional<sys::SockDiag> diag;
  for (auto& [inode, end] : ends_) {
    if (end.info.state == TCP_SYN_SENT) {
      for (const sys::InetSocket& socket : TRY(TRY(sys::SockDiag::open()).all(IPPROTO_TCP, 1u << TCP_SYN_SENT)))
        if (socket.inode == inode) end.remote = end.local.v6 ? socket.remote.as_v6() : socket.remote;
      if (end.remote) end.listener = find_listener(*end.remote);
      continue;
    }
    if (!end.remote) continue;
    if (end.apart) {
      TRY(relate_apart(end));
      continue;
    }
    auto peer = by_addresses.find({end.remote->unmapped(), end.local.unmapped()});
    if (peer != by_addresses.end()) {
      end.peer = peer->second;
      continue;
    }
    if (!diag) diag = TRY(sys::SockDiag::open());
    end.stranger = TRY(diag->find_tcp(*end.remote, end.local));
    if (!end.stranger || end.stranger->inode != 0) continue;
    end.peer_closed = is_closed(end.stranger->state);
    if (!end.peer_closed) end.listener = find_listener(*end.remote);
  }
  return {};
}

// Which member of a SO_REUSEPORT group has which of the connections nobody tells; each gets as many as it has.
void TcpSurvey::share_out() {
  std::map<const TcpEnd*, uint32_t> given;
  for (auto& [inode, client] : ends_) {
    if (client.listener == nullptr || client.info.state == TCP_SYN_SENT) continue;
    for (const auto& [other, member] : ends_) {
      if (member.info.state != TCP_LISTEN || !same_address(member, *client.listener)) continue;
      if (given[&member] >= member.info.waiting) continue;
      client.listener = &member;
      break;
    }
    ++given[client.listener];
  }
}

TcpSurvey::Queue TcpSurvey::queue_of(const TcpEnd& listener) const {
  Queue queue;
  for (const auto& [inode, end] : ends_) {
    if (end.info.state == TCP_LISTEN && same_address(end, listener)) queue.waiting += end.info.waiting;
    bool accepted_soon = end.listener != nullptr && end.stranger && end.stranger->state != TCP_SYN_RECV;
    if (accepted_soon && same_address(*end.listener, listener)) ++queue.known;
  }
  return queue;
}

}  // namespace stint::fd
