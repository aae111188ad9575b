#include "base/inet_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

namespace stint {

std::string to_text(const InetAddress& address) {
  char host[INET6_ADDRSTRLEN] = "?";
  ::inet_ntop(address.v6 ? AF_INET6 : AF_INET, address.host.data(), host, sizeof(host));
  if (address.v6) return fmt::format("[{}]:{}", host, address.port);
  return fmt::format("{}:{}", host, address.port);
}

}  // namespace stint
