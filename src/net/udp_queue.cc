#include "net/udp_queue.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "net/local_port.h"
#include "sys/inet.h"
#include "sys/socket.h"
#include "sys/socket_filter.h"

namespace stint::net {
namespace {

using image::DatagramRecord;

constexpr int kSlack = 4096;  // what the kernel takes for a datagram, beyond twice its bytes

Result<sys::UniqueFd> make_socket(bool v6) {
  return sys::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_UDP);
}

bool is_multicast(const InetAddress& address) {
  return address.v6 ? address.host[0] == 0xff : (address.host[0] & 0xf0) == 0xe0;
}

// A socket at the address of one that has sent something.
Result<sys::UniqueFd> make_sender(const DatagramRecord& datagram) {
  InetAddress from = datagram.from.unmapped();
  sys::UniqueFd sender = TRY(make_socket(from.v6));
  TRY(sys::set_socket_option(sender.get(), SO_REUSEADDR, 1));
  if (from.v6) TRY(sys::set_option(sender.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1));
  Result<> bound = sys::bind(sender.get(), from);
  if (!bound.has_value()) return not_free(IPPROTO_UDP, from, std::move(bound).error());
  int level = from.v6 ? IPPROTO_IPV6 : IPPROTO_IP;
  if (datagram.hops >= 0)
    TRY(sys::set_option(sender.get(), level, from.v6 ? IPV6_UNICAST_HOPS : IP_TTL, datagram.hops));
  if (datagram.traffic_class >= 0)
    TRY(sys::set_option(sender.get(), level, from.v6 ? IPV6_TCLASS : IP_TOS, datagram.traffic_class));
  return sender;
}

class Filling {
 public:
  Filling(int fd, const InetAddress& local) : fd_(fd), local_(local) {}

  Result<> send(const DatagramRecord& datagram) {
    TRY(sys::let_arrive_from(fd_, datagram.from.port));
    uint32_t before = TRY(sys::receive_memory(fd_));
    if (is_itself(datagram.from)) {
      TRY(send_to_itself(datagram));
    } else {
      sys::UniqueFd sender = TRY(make_sender(datagram));
      InetAddress to = datagram.to.with_port(local_.port).unmapped();
      TRY(sys::send_datagram(sender.get(), datagram.bytes, to, datagram.segment));
    }
    if (TRY(sys::receive_memory(fd_)) > before) return {};
    return unfit(fmt::format("a datagram from {} that waited in it does not find room: raise net.core.rmem_max",
                             to_text(datagram.from)));
  }

 private:
  // Another socket at its address would take what is sent to it.
  bool is_itself(const InetAddress& from) const {
    return from.port == local_.port && (local_.any() || same_place(from, local_));
  }

  Result<> send_to_itself(const DatagramRecord& datagram) {
    if (!same_place(datagram.to.with_port(0), datagram.from.with_port(0)))
      return unfit(fmt::format("a datagram that came from {} cannot be sent from there", to_text(datagram.from)));
    TRY(sys::set_option(fd_, IPPROTO_UDP, UDP_CORK, 0));
    TRY(sys::set_option(fd_, IPPROTO_UDP, UDP_SEGMENT, 0));
    InetAddress to = datagram.to.with_port(local_.port);
    return sys::send_datagram(fd_, datagram.bytes, local_.v6 ? to.as_v6() : to, datagram.segment);
  }

  int fd_;
  InetAddress local_;
};

Result<uint32_t> memory_of_one(const sys::Datagram& datagram) {
  bool v6 = datagram.from.unmapped().v6;
  InetAddress loopback{.v6 = v6};
  if (v6)
    loopback.host[15] = 1;
  else
    loopback.host = {127, 0, 0, 1};
  sys::UniqueFd receiver = TRY(make_socket(v6)), sender = TRY(make_socket(v6));
  TRY(sys::bind(receiver.get(), loopback));
  if (datagram.segment != 0) TRY(sys::set_option(receiver.get(), IPPROTO_UDP, UDP_GRO, 1));
  InetAddress to = TRY(sys::own_address(receiver.get()));
  TRY(sys::send_datagram(sender.get(), datagram.bytes, to, datagram.segment));
  return sys::receive_memory(receiver.get());
}

}  // namespace

Result<bool> is_own_unicast(const InetAddress& address) {
  InetAddress plain = address.unmapped();
  if (plain.any() || is_multicast(plain)) return false;
  sys::UniqueFd probe = TRY(make_socket(plain.v6));
  if (!sys::bind(probe.get(), plain.with_port(0)).has_value()) return false;
  // Without SO_BROADCAST that is refused.
  constexpr uint16_t kDiscard = 9;
  Result<bool> connected = sys::connect(probe.get(), plain.with_port(kDiscard));
  return connected.has_value();
}

Result<bool> is_taken(const InetAddress& address) {
  InetAddress plain = address.unmapped();
  sys::UniqueFd probe = TRY(make_socket(plain.v6));
  return !sys::bind(probe.get(), plain).has_value();
}

InetAddress destination(const sys::Datagram& datagram, const InetAddress& local) {
  if (!local.any()) return local.with_port(0);
  if (datagram.to) return *datagram.to;
  return datagram.from.with_port(0);
}

Result<uint32_t> memory_of(const std::vector<sys::Datagram>& datagrams) {
  uint32_t total = 0;
  for (const sys::Datagram& datagram : datagrams) total += TRY(memory_of_one(datagram));
  return total;
}

Result<> fill_with_datagrams(int fd, const InetAddress& local, const std::vector<DatagramRecord>& datagrams) {
  size_t room = 0;
  for (const DatagramRecord& datagram : datagrams) room += 2 * datagram.bytes.size() + kSlack;
  int before = TRY(sys::socket_option(fd, SO_RCVBUF));
  if (static_cast<size_t>(before) < room) TRY(sys::set_receive_buffer(fd, static_cast<int>(room)));
  Filling filling(fd, local);
  for (const DatagramRecord& datagram : datagrams) TRY(filling.send(datagram));
  return sys::drop_what_arrives(fd);
}

}  // namespace stint::net
