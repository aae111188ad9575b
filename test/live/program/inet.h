// Internet sockets of live tests: all on the loopback addresses, with ports that the kernel chooses.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>

#include "test/live/program/descriptors.h"

namespace live {

struct Address {
  sockaddr_storage storage = {};
  socklen_t size = sizeof storage;
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
  bool operator==(const Address& other) const { return memcmp(&storage, &other.storage, sizeof storage) == 0; }
};

inline std::ostream& operator<<(std::ostream& out, const Address& address) {
  const sockaddr_in* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
  return out << "family " << v4->sin_family << " port " << ntohs(v4->sin_port);
}

inline Address loopback(int family) {
  Address address;
  address.storage.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_addr = in6addr_loopback;
    address.size = sizeof(sockaddr_in6);
  } else {
    reinterpret_cast<sockaddr_in*>(&address.storage)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.size = sizeof(sockaddr_in);
  }
  return address;
}

inline Address own_address(int fd) {
  Address address;
  EXPECT_OK(getsockname(fd, address.raw(), &address.size));
  return address;
}

inline Address peer_address(int fd) {
  Address address;
  EXPECT_OK(getpeername(fd, address.raw(), &address.size));
  return address;
}

inline Fd bound_socket(int type, int family = AF_INET) {
  const Address address = loopback(family);
  Fd fd(EXPECT_OK(socket(family, type, 0)));
  EXPECT_OK(bind(fd, address.raw(), address.size));
  return fd;
}

inline Fd listening_socket(int backlog = 8, int family = AF_INET) {
  Fd fd = bound_socket(SOCK_STREAM, family);
  EXPECT_OK(listen(fd, backlog));
  return fd;
}

inline Fd connected_socket(int type, const Address& to) {
  Fd fd(EXPECT_OK(socket(to.storage.ss_family, type, 0)));
  EXPECT_OK(connect(fd, to.raw(), to.size));
  return fd;
}

struct TcpPair {
  Fd listener, client, server;
};

inline TcpPair make_tcp_pair(int family = AF_INET) {
  TcpPair pair{listening_socket(8, family), Fd(), Fd()};
  pair.client = connected_socket(SOCK_STREAM, own_address(pair.listener));
  pair.server = Fd(EXPECT_OK(accept(pair.listener, nullptr, nullptr)));
  return pair;
}

inline void set_option(int fd, int level, int name, int value) {
  EXPECT_OK(setsockopt(fd, level, name, &value, sizeof value));
}

inline int get_option(int fd, int level, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  EXPECT_OK(getsockopt(fd, level, name, &value, &size));
  return value;
}

}  // namespace live
