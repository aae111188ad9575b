#include "sys/datagram.h"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "sys/call.h"
#include "sys/raw_address.h"
#include "sys/socket.h"

namespace stint::sys {
namespace {

constexpr size_t kLargest = 65536;

template <class T>
T value_of(const cmsghdr* header) {
  T value{};
  size_t size = header->cmsg_len - CMSG_LEN(0);
  std::memcpy(&value, CMSG_DATA(header), std::min(size, sizeof(value)));
  return value;
}

void read_v4(const cmsghdr* header, Datagram& datagram) {
  if (header->cmsg_type == IP_PKTINFO) {
    in_pktinfo info = value_of<in_pktinfo>(header);
    std::memcpy(datagram.to.emplace().host.data(), &info.ipi_addr, sizeof(info.ipi_addr));
    datagram.interface = static_cast<uint32_t>(info.ipi_ifindex);
  }
  if (header->cmsg_type == IP_TTL) datagram.hops = value_of<int>(header);
  if (header->cmsg_type == IP_TOS) datagram.traffic_class = value_of<uint8_t>(header);
}

void read_v6(const cmsghdr* header, Datagram& datagram) {
  if (header->cmsg_type == IPV6_PKTINFO || header->cmsg_type == IPV6_2292PKTINFO) {
    in6_pktinfo info = value_of<in6_pktinfo>(header);
    datagram.to.emplace().v6 = true;
    std::memcpy(datagram.to->host.data(), &info.ipi6_addr, sizeof(info.ipi6_addr));
    datagram.interface = info.ipi6_ifindex;
  }
  if (header->cmsg_type == IPV6_HOPLIMIT || header->cmsg_type == IPV6_2292HOPLIMIT)
    datagram.hops = value_of<int>(header);
  if (header->cmsg_type == IPV6_TCLASS) datagram.traffic_class = value_of<int>(header);
}

void read_control(msghdr& message, Datagram& datagram) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level == IPPROTO_IP) read_v4(header, datagram);
    if (header->cmsg_level == IPPROTO_IPV6) read_v6(header, datagram);
    if (header->cmsg_level == IPPROTO_UDP && header->cmsg_type == UDP_GRO) datagram.segment = value_of<int>(header);
  }
}

Result<std::optional<Datagram>> peek(int fd) {
  alignas(cmsghdr) std::array<std::byte, 1024> control;
  Datagram datagram;
  datagram.bytes.resize(kLargest);
  RawAddress from;
  iovec vector{.iov_base = datagram.bytes.data(), .iov_len = datagram.bytes.size()};
  msghdr message{};
  message.msg_name = from.pointer(), message.msg_namelen = from.size;
  message.msg_iov = &vector, message.msg_iovlen = 1;
  message.msg_control = control.data(), message.msg_controllen = control.size();
  Result<long> got = call("recvmsg", [&] { return ::recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT); });
  if (!got.has_value() && got.error().os_errno() == EAGAIN) return std::optional<Datagram>();
  datagram.bytes.resize(static_cast<size_t>(TRY(std::move(got))));
  datagram.from = TRY(from_raw(from));
  read_control(message, datagram);
  return std::optional(std::move(datagram));
}

Result<std::vector<Datagram>> peek_all(int fd) {
  std::vector<Datagram> waiting;
  // Without an offset the first shows, even when it is empty and was looked at.
  TRY(set_socket_option(fd, SO_PEEK_OFF, -1));
  std::optional<Datagram> first = TRY(peek(fd));
  if (!first) return waiting;
  TRY(set_socket_option(fd, SO_PEEK_OFF, 0));
  if (first->bytes.empty()) waiting.push_back(std::move(*first));
  while (std::optional<Datagram> next = TRY(peek(fd))) waiting.push_back(std::move(*next));
  return waiting;
}

}  // namespace

Result<std::vector<Datagram>> peek_datagrams(int fd) {
  int before = TRY(socket_option(fd, SO_PEEK_OFF));
  Result<std::vector<Datagram>> waiting = peek_all(fd);
  TRY(set_socket_option(fd, SO_PEEK_OFF, before));
  return waiting;
}

Result<> send_datagram(int fd, ByteView bytes, const std::optional<InetAddress>& to, int segment) {
  RawAddress raw = to_raw(to.value_or(InetAddress{}));
  iovec vector{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  if (to) message.msg_name = raw.pointer(), message.msg_namelen = raw.size;
  message.msg_iov = &vector, message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(uint16_t))> control{};
  uint16_t size = static_cast<uint16_t>(segment);
  if (segment != 0) {
    message.msg_control = control.data(), message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = IPPROTO_UDP, header->cmsg_type = UDP_SEGMENT, header->cmsg_len = CMSG_LEN(sizeof(size));
    std::memcpy(CMSG_DATA(header), &size, sizeof(size));
  }
  TRY(call("sendmsg", [&] { return ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL); }));
  return {};
}

Result<uint32_t> receive_memory(int fd) {
  std::array<uint32_t, SK_MEMINFO_VARS> values{};
  socklen_t size = sizeof(values);
  TRY(call("SO_MEMINFO", [&] { return ::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values.data(), &size); }));
  return values[SK_MEMINFO_RMEM_ALLOC];
}

}  // namespace stint::sys
