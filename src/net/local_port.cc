#include "net/local_port.h"

#include <fmt/format.h>
#include <netinet/in.h>

#include <cstdio>
#include <cstring>

#include "net/holder.h"
#include "sys/inet.h"
#include "sys/procfs.h"

namespace stint::net {
namespace {

constexpr int kIpLocalPortRange = 51;  // Linux 6.3

}  // namespace

Result<bool> choose_port(int fd, uint16_t port) {
  uint32_t range = static_cast<uint32_t>(port) << 16 | port;
  std::byte value[sizeof(range)];
  std::memcpy(value, &range, sizeof(range));
  Result<> set = sys::set_option_bytes(fd, IPPROTO_IP, kIpLocalPortRange, value);
  if (set.has_value()) return true;
  if (set.error().os_errno() == ENOPROTOOPT) return false;
  return std::move(set).error();
}

bool is_ephemeral(uint16_t port) {
  std::string text = sys::read_whole("/proc/sys/net/ipv4/ip_local_port_range", 64).value_or("");
  unsigned first = 0, last = 0;
  return std::sscanf(text.c_str(), "%u %u", &first, &last) == 2 && first <= port && port <= last;
}

Error not_free(int protocol, const InetAddress& address, Error error) {
  if (error.os_errno() == EADDRINUSE)
    return unfit(fmt::format("address {} is taken by {}", to_text(address), holder_of(protocol, address)));
  if (error.os_errno() == EADDRNOTAVAIL)
    return unfit(fmt::format("address {} is not one of this host's, or its port is in use", to_text(address)));
  return std::move(error).in(to_text(address)).as(ErrorKind::kUnfit);
}

}  // namespace stint::net
