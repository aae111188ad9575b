// For tests of Internet sockets: addresses of this host, and options by a word.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace stint::fd {

struct Address {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
  in_port_t port() const { return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port); }
  bool operator==(const Address& other) const { return std::memcmp(&storage, &other.storage, sizeof(storage)) == 0; }
};

// For IPv6, of `v4` only INADDR_ANY counts: else it is the loopback.
inline Address place(int family, uint32_t v4 = INADDR_LOOPBACK, in_port_t port = 0) {
  Address address;
  address.storage.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET6) {
    sockaddr_in6* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    v6->sin6_addr = v4 == INADDR_ANY ? in6addr_any : in6addr_loopback;
    v6->sin6_port = htons(port);
    address.size = sizeof(sockaddr_in6);
  } else {
    sockaddr_in* in = reinterpret_cast<sockaddr_in*>(&address.storage);
    in->sin_addr.s_addr = htonl(v4);
    in->sin_port = htons(port);
    address.size = sizeof(sockaddr_in);
  }
  return address;
}

inline Address own(int fd) {
  Address address;
  ::getsockname(fd, address.raw(), &address.size);
  return address;
}

inline Address peer(int fd) {
  Address address;
  ::getpeername(fd, address.raw(), &address.size);
  return address;
}

inline bool set(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

// -errno when it cannot be asked for.
inline int get(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof(value);
  return ::getsockopt(fd, level, name, &value, &size) == 0 ? value : -errno;
}

}  // namespace stint::fd
