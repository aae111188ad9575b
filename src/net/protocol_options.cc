#include "net/protocol_options.h"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <linux/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>

#include "sys/inet.h"
#include "sys/socket.h"
#include "sys/socket_filter.h"

namespace stint::net {
namespace {

using image::ProtocolOption;

enum class Settable {
  kAlways,
  kNew,      // only before the socket has an address or a peer
  kRounded,  // always; the kernel may round it to its own clock
};

struct Known {
  int level, name;
  const char* text;
  Settable settable = Settable::kAlways;
  size_t size = sizeof(int);
};

// Newer than the headers that we are built with.
constexpr int kTcpRtoMaxMs = 44, kTcpRtoMinUs = 45, kTcpDelackMaxUs = 46;
constexpr int kIpv6AddrPreferences = 72, kIpv6MinHopCount = 73, kIpv6AutoFlowLabel = 70;
constexpr int kIpv6FlowInfoSend = 33, kIpv6MulticastAll = 29, kIpv6FlowInfo = 11, kIpv6RecverrRfc4884 = 31;
constexpr int kIpv6RecvOrigDstAddr = 74, kIpv6Transparent = 75, kIpv6RecvFragSize = 77, kIpv6FreeBind = 78;
constexpr int kIpRecverrRfc4884 = 26, kIpLocalPortRange = 51;
constexpr int kNetlink = 270;  // SOL_NETLINK
constexpr int kTcp = IPPROTO_TCP, kUdp = IPPROTO_UDP, kIp = IPPROTO_IP, kIpv6 = IPPROTO_IPV6;

constexpr Known kOptions[] = {
    {SOL_SOCKET, SO_BINDTODEVICE, "SO_BINDTODEVICE", Settable::kAlways, 16},
    {SOL_SOCKET, SO_DONTROUTE, "SO_DONTROUTE"},
    {SOL_SOCKET, SO_BROADCAST, "SO_BROADCAST"},
    {SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE"},
    {SOL_SOCKET, SO_OOBINLINE, "SO_OOBINLINE"},
    {SOL_SOCKET, SO_NO_CHECK, "SO_NO_CHECK"},
    {SOL_SOCKET, SO_PRIORITY, "SO_PRIORITY"},
    {SOL_SOCKET, SO_LINGER, "SO_LINGER", Settable::kAlways, sizeof(linger)},
    {SOL_SOCKET, SO_PASSCRED, "SO_PASSCRED"},
    {SOL_SOCKET, SO_RCVTIMEO, "SO_RCVTIMEO", Settable::kRounded, sizeof(timeval)},
    {SOL_SOCKET, SO_SNDTIMEO, "SO_SNDTIMEO", Settable::kRounded, sizeof(timeval)},
    {SOL_SOCKET, SO_TIMESTAMP, "SO_TIMESTAMP"},
    {SOL_SOCKET, SO_TIMESTAMPNS, "SO_TIMESTAMPNS"},
    {SOL_SOCKET, SO_TIMESTAMP_NEW, "SO_TIMESTAMP_NEW"},
    {SOL_SOCKET, SO_TIMESTAMPNS_NEW, "SO_TIMESTAMPNS_NEW"},
    {SOL_SOCKET, SO_TIMESTAMPING, "SO_TIMESTAMPING"},
    {SOL_SOCKET, SO_MARK, "SO_MARK"},
    {SOL_SOCKET, SO_RXQ_OVFL, "SO_RXQ_OVFL"},
    {SOL_SOCKET, SO_WIFI_STATUS, "SO_WIFI_STATUS"},
    {SOL_SOCKET, SO_SELECT_ERR_QUEUE, "SO_SELECT_ERR_QUEUE"},
    {SOL_SOCKET, SO_BUSY_POLL, "SO_BUSY_POLL"},
    {SOL_SOCKET, SO_PREFER_BUSY_POLL, "SO_PREFER_BUSY_POLL"},
    {SOL_SOCKET, SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE", Settable::kAlways, sizeof(uint64_t)},
    {SOL_SOCKET, SO_ZEROCOPY, "SO_ZEROCOPY"},
    {SOL_SOCKET, SO_RCVMARK, "SO_RCVMARK"},
    {SOL_SOCKET, SO_TXTIME, "SO_TXTIME", Settable::kAlways, 8},

    {kTcp, TCP_NODELAY, "TCP_NODELAY"},
    {kTcp, TCP_CORK, "TCP_CORK"},
    {kTcp, TCP_KEEPIDLE, "TCP_KEEPIDLE"},
    {kTcp, TCP_KEEPINTVL, "TCP_KEEPINTVL"},
    {kTcp, TCP_KEEPCNT, "TCP_KEEPCNT"},
    {kTcp, TCP_SYNCNT, "TCP_SYNCNT"},
    {kTcp, TCP_LINGER2, "TCP_LINGER2"},
    {kTcp, TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT", Settable::kRounded},
    {kTcp, TCP_CONGESTION, "TCP_CONGESTION", Settable::kAlways, 16},
    {kTcp, TCP_MAXSEG, "TCP_MAXSEG", Settable::kNew},
    {kTcp, TCP_THIN_LINEAR_TIMEOUTS, "TCP_THIN_LINEAR_TIMEOUTS"},
    {kTcp, TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"},
    {kTcp, TCP_FASTOPEN, "TCP_FASTOPEN", Settable::kNew},
    {kTcp, TCP_FASTOPEN_CONNECT, "TCP_FASTOPEN_CONNECT", Settable::kNew},
    {kTcp, TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT"},
    {kTcp, TCP_SAVE_SYN, "TCP_SAVE_SYN", Settable::kNew},
    {kTcp, TCP_INQ, "TCP_INQ"},
    {kTcp, TCP_TX_DELAY, "TCP_TX_DELAY"},
    {kTcp, kTcpRtoMaxMs, "TCP_RTO_MAX_MS"},
    {kTcp, kTcpRtoMinUs, "TCP_RTO_MIN_US"},
    {kTcp, kTcpDelackMaxUs, "TCP_DELACK_MAX_US"},
    {kTcp, TCP_QUICKACK, "TCP_QUICKACK", Settable::kRounded},

    {kUdp, UDP_CORK, "UDP_CORK"},
    {kUdp, UDP_NO_CHECK6_TX, "UDP_NO_CHECK6_TX"},
    {kUdp, UDP_NO_CHECK6_RX, "UDP_NO_CHECK6_RX"},
    {kUdp, UDP_SEGMENT, "UDP_SEGMENT"},
    {kUdp, UDP_GRO, "UDP_GRO"},

    {kIp, IP_TRANSPARENT, "IP_TRANSPARENT", Settable::kNew},
    {kIp, IP_FREEBIND, "IP_FREEBIND"},
    {kIp, IP_TOS, "IP_TOS"},
    {kIp, IP_TTL, "IP_TTL"},
    {kIp, IP_MINTTL, "IP_MINTTL"},
    {kIp, IP_OPTIONS, "IP_OPTIONS", Settable::kAlways, 40},
    {kIp, IP_PKTINFO, "IP_PKTINFO"},
    {kIp, IP_RECVTTL, "IP_RECVTTL"},
    {kIp, IP_RECVTOS, "IP_RECVTOS"},
    {kIp, IP_RECVOPTS, "IP_RECVOPTS"},
    {kIp, IP_RETOPTS, "IP_RETOPTS"},
    {kIp, IP_RECVORIGDSTADDR, "IP_RECVORIGDSTADDR"},
    {kIp, IP_RECVFRAGSIZE, "IP_RECVFRAGSIZE"},
    {kIp, IP_CHECKSUM, "IP_CHECKSUM"},
    {kIp, kIpRecverrRfc4884, "IP_RECVERR_RFC4884"},
    {kIp, kIpLocalPortRange, "IP_LOCAL_PORT_RANGE"},
    {kIp, IP_PASSSEC, "IP_PASSSEC"},
    {kIp, IP_RECVERR, "IP_RECVERR"},
    {kIp, IP_MTU_DISCOVER, "IP_MTU_DISCOVER"},
    {kIp, IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT"},
    {kIp, IP_UNICAST_IF, "IP_UNICAST_IF"},
    {kIp, IP_MULTICAST_IF, "IP_MULTICAST_IF", Settable::kAlways, sizeof(in_addr)},
    {kIp, IP_MULTICAST_TTL, "IP_MULTICAST_TTL"},
    {kIp, IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP"},
    {kIp, IP_MULTICAST_ALL, "IP_MULTICAST_ALL"},

    {kIpv6, IPV6_V6ONLY, "IPV6_V6ONLY", Settable::kNew},
    {kIpv6, IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS"},
    {kIpv6, IPV6_TCLASS, "IPV6_TCLASS"},
    {kIpv6, IPV6_MTU_DISCOVER, "IPV6_MTU_DISCOVER"},
    {kIpv6, IPV6_DONTFRAG, "IPV6_DONTFRAG"},
    {kIpv6, IPV6_RECVERR, "IPV6_RECVERR"},
    {kIpv6, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"},
    {kIpv6, IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT"},
    {kIpv6, IPV6_RECVTCLASS, "IPV6_RECVTCLASS"},
    {kIpv6, IPV6_RECVPATHMTU, "IPV6_RECVPATHMTU"},
    {kIpv6, IPV6_RECVHOPOPTS, "IPV6_RECVHOPOPTS"},
    {kIpv6, IPV6_RECVRTHDR, "IPV6_RECVRTHDR"},
    {kIpv6, IPV6_RECVDSTOPTS, "IPV6_RECVDSTOPTS"},
    {kIpv6, IPV6_2292PKTINFO, "IPV6_2292PKTINFO"},
    {kIpv6, IPV6_2292HOPLIMIT, "IPV6_2292HOPLIMIT"},
    {kIpv6, kIpv6FlowInfo, "IPV6_FLOWINFO"},
    {kIpv6, kIpv6RecvOrigDstAddr, "IPV6_RECVORIGDSTADDR"},
    {kIpv6, kIpv6RecvFragSize, "IPV6_RECVFRAGSIZE"},
    {kIpv6, kIpv6RecverrRfc4884, "IPV6_RECVERR_RFC4884"},
    {kIpv6, kIpv6Transparent, "IPV6_TRANSPARENT", Settable::kNew},
    {kIpv6, kIpv6FreeBind, "IPV6_FREEBIND"},
    {kIpv6, kIpv6FlowInfoSend, "IPV6_FLOWINFO_SEND"},
    {kIpv6, kIpv6AutoFlowLabel, "IPV6_AUTOFLOWLABEL"},
    {kIpv6, kIpv6AddrPreferences, "IPV6_ADDR_PREFERENCES"},
    {kIpv6, kIpv6MinHopCount, "IPV6_MINHOPCOUNT"},
    {kIpv6, IPV6_UNICAST_IF, "IPV6_UNICAST_IF"},
    {kIpv6, IPV6_MULTICAST_IF, "IPV6_MULTICAST_IF"},
    {kIpv6, IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS"},
    {kIpv6, IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP"},
    {kIpv6, kIpv6MulticastAll, "IPV6_MULTICAST_ALL"},

    {kNetlink, NETLINK_PKTINFO, "NETLINK_PKTINFO"},
    {kNetlink, NETLINK_BROADCAST_ERROR, "NETLINK_BROADCAST_ERROR"},
    {kNetlink, NETLINK_NO_ENOBUFS, "NETLINK_NO_ENOBUFS"},
    {kNetlink, NETLINK_LISTEN_ALL_NSID, "NETLINK_LISTEN_ALL_NSID"},
    {kNetlink, NETLINK_CAP_ACK, "NETLINK_CAP_ACK"},
    {kNetlink, NETLINK_EXT_ACK, "NETLINK_EXT_ACK"},
    {kNetlink, NETLINK_GET_STRICT_CHK, "NETLINK_GET_STRICT_CHK"},
};

const Known* find_known(const ProtocolOption& option) {
  for (const Known& known : kOptions)
    if (known.level == option.level && known.name == option.name) return &known;
  return nullptr;
}

// What a socket of this domain and protocol may be asked: TCP's own options would be refused by UDP, or mean something
// else to it.
bool belongs(const Known& known, int domain, int protocol) {
  if (known.level == SOL_SOCKET) return true;
  if (known.level == kNetlink || domain == AF_NETLINK) return known.level == kNetlink && domain == AF_NETLINK;
  if (known.level == kTcp || known.level == kUdp) return known.level == protocol;
  return known.level == kIp || domain == AF_INET6;
}

Result<std::vector<ProtocolOption>> read_all(int fd, int domain, int protocol) {
  std::vector<ProtocolOption> options;
  for (const Known& known : kOptions) {
    if (!belongs(known, domain, protocol)) continue;
    std::optional<Bytes> value = TRY(sys::option_bytes(fd, known.level, known.name, known.size).in(known.text));
    if (value) options.push_back({.level = known.level, .name = known.name, .value = std::move(*value)});
  }
  return options;
}

Result<> set_one(int fd, const ProtocolOption& option, const Known& known) {
  std::optional<Bytes> now = TRY(sys::option_bytes(fd, known.level, known.name, known.size).in(known.text));
  if (!now) return unfit(fmt::format("{}: this kernel does not know it", known.text));
  if (*now == option.value) return {};
  TRY(sys::set_option_bytes(fd, known.level, known.name, option.value).in(known.text).as(ErrorKind::kUnfit));
  if (known.settable == Settable::kRounded) return {};
  now = TRY(sys::option_bytes(fd, known.level, known.name, known.size).in(known.text));
  if (!now || *now != option.value) return unfit(fmt::format("{}: it does not become what it was", known.text));
  return {};
}

}  // namespace

Result<std::vector<ProtocolOption>> OptionReader::read(int fd) {
  int domain = TRY(sys::socket_option(fd, SO_DOMAIN)), type = TRY(sys::socket_option(fd, SO_TYPE));
  int protocol = TRY(sys::socket_option(fd, SO_PROTOCOL));
  auto [defaults, fresh] = defaults_.try_emplace({domain, type, protocol});
  if (fresh) {
    sys::UniqueFd socket = TRY(sys::socket(domain, type, protocol));
    defaults->second = TRY(read_all(socket.get(), domain, protocol));
  }
  std::vector<ProtocolOption> options = TRY(read_all(fd, domain, protocol));
  std::erase_if(options, [&](const ProtocolOption& option) {
    return std::ranges::find(defaults->second, option) != defaults->second.end();
  });
  return options;
}

Result<image::SocketBuffers> read_buffers(int fd) {
  int locks = TRY(sys::socket_option(fd, SO_BUF_LOCK).in("SO_BUF_LOCK (Linux 5.14)"));
  return image::SocketBuffers{.send = TRY(sys::socket_option(fd, SO_SNDBUF)),
                              .receive = TRY(sys::socket_option(fd, SO_RCVBUF)),
                              .send_locked = (locks & SOCK_SNDBUF_LOCK) != 0,
                              .receive_locked = (locks & SOCK_RCVBUF_LOCK) != 0};
}

Result<> set_buffers(int fd, const image::SocketBuffers& buffers) {
  if (buffers.send_locked && TRY(sys::set_send_buffer(fd, buffers.send)) != buffers.send)
    return unfit(fmt::format("a send buffer of {} bytes: raise net.core.wmem_max", buffers.send));
  if (buffers.receive_locked && TRY(sys::set_receive_buffer(fd, buffers.receive)) != buffers.receive)
    return unfit(fmt::format("a receive buffer of {} bytes: raise net.core.rmem_max", buffers.receive));
  return {};
}

Result<std::optional<image::SocketFilter>> read_filter(int fd) {
  std::optional<Bytes> instructions = TRY(sys::socket_filter(fd));
  if (!instructions) return std::optional<image::SocketFilter>();
  bool locked = TRY(sys::socket_option(fd, SO_LOCK_FILTER)) != 0;
  return std::optional(image::SocketFilter{std::move(*instructions), locked});
}

Result<> set_filter(int fd, const image::SocketFilter& filter) {
  if (!filter.instructions.empty()) TRY(sys::set_socket_filter(fd, filter.instructions));
  return filter.locked ? sys::set_socket_option(fd, SO_LOCK_FILTER, 1) : Result<>();
}

Result<> set_options(int fd, const std::vector<ProtocolOption>& options, When when) {
  for (const ProtocolOption& option : options) {
    const Known* known = find_known(option);
    if (known == nullptr)
      return unfit(
          fmt::format("socket option {} of level {}: this version does not know it", option.name, option.level));
    if (when == When::kInUse && known->settable == Settable::kNew) continue;
    TRY(set_one(fd, option, *known));
  }
  return {};
}

}  // namespace stint::net
