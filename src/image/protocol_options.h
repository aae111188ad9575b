// What the records of Internet and netlink sockets share.
#pragma once

#include "image/codec.h"

namespace stint::image {

// An option of any level, as getsockopt(2) gives it and setsockopt(2) takes it.
struct ProtocolOption {
  int32_t level = 0, name = 0;
  Bytes value;
  bool operator==(const ProtocolOption&) const = default;
  template <class A>
  void fields(A& a) {
    a("level", level), a("name", name), a("value", value);
  }
};

// As SO_SNDBUF and SO_RCVBUF show them; one that is not locked the kernel sizes by itself (SO_BUF_LOCK).
struct SocketBuffers {
  int32_t send = 0, receive = 0;
  bool send_locked = false, receive_locked = false;
  template <class A>
  void fields(A& a) {
    a("send", send), a("receive", receive), a("send_locked", send_locked), a("receive_locked", receive_locked);
  }
};

// SO_ATTACH_FILTER and SO_LOCK_FILTER.
struct SocketFilter {
  Bytes instructions;  // empty: none
  bool locked = false;
  template <class A>
  void fields(A& a) {
    a("instructions", instructions), a("locked", locked);
  }
};

}  // namespace stint::image
