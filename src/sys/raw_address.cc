#include "sys/raw_address.h"

#include <netinet/in.h>

#include <cstring>

namespace stint::sys {

RawAddress to_raw(const InetAddress& address) {
  RawAddress raw;
  if (address.v6) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(address.port);
    v6.sin6_scope_id = address.scope;
    std::memcpy(&v6.sin6_addr, address.host.data(), sizeof(v6.sin6_addr));
    std::memcpy(&raw.storage, &v6, sizeof(v6));
    raw.size = sizeof(v6);
  } else {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(address.port);
    std::memcpy(&v4.sin_addr, address.host.data(), sizeof(v4.sin_addr));
    std::memcpy(&raw.storage, &v4, sizeof(v4));
    raw.size = sizeof(v4);
  }
  return raw;
}

Result<InetAddress> from_raw(const RawAddress& raw) {
  InetAddress address;
  if (raw.storage.ss_family == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, &raw.storage, sizeof(v6));
    address.v6 = true;
    address.port = ntohs(v6.sin6_port);
    address.scope = v6.sin6_scope_id;
    std::memcpy(address.host.data(), &v6.sin6_addr, sizeof(v6.sin6_addr));
  } else if (raw.storage.ss_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &raw.storage, sizeof(v4));
    address.port = ntohs(v4.sin_port);
    std::memcpy(address.host.data(), &v4.sin_addr, sizeof(v4.sin_addr));
  } else {
    return failed("an address that is not of the Internet");
  }
  return address;
}

}  // namespace stint::sys
