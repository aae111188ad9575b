// sock_diag(7): the TCP and UDP sockets of a network namespace, whoever has them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/inet_address.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

struct InetSocket {
  int state = 0;       // TCP_* of netinet/tcp.h
  uint64_t inode = 0;  // 0: no descriptor leads to it: it waits to be accepted, or is closed and still at work
  InetAddress local, remote;
  uint32_t receive_queue = 0, send_queue = 0;  // bytes; a FIN counts as one
  uint32_t expires_ms = 0;                     // of a timer, TIME_WAIT's among them
  bool read_shut = false, write_shut = false;  // by its own shutdown(2)
};

class SockDiag {
 public:
  // `network`: a descriptor of another network namespace; -1: ours.
  static Result<SockDiag> open(int network = -1);
  // The TCP socket with just these addresses; nothing when there is none.
  Result<std::optional<InetSocket>> find_tcp(const InetAddress& local, const InetAddress& remote);
  // All sockets of the protocol in one of these states: a mask of 1 << TCP_*. Bound sockets without a peer show on
  // Linux 6.8 and later.
  Result<std::vector<InetSocket>> all(int protocol, uint32_t states);

 private:
  explicit SockDiag(UniqueFd socket) : socket_(std::move(socket)) {}
  UniqueFd socket_;
};

}  // namespace stint::sys
