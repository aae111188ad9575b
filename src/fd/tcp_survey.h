// How the TCP sockets of a job belong together. The kernel does not say which socket is the other end of a connection;
// the addresses do, each end having those of the other the other way round. An end whose other end no descriptor leads
// to is looked up by sock_diag: it may wait in a listener's queue, be closed and still at work, be gone, or be outside.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "fd/kind.h"
#include "sys/inet.h"
#include "sys/sock_diag.h"

namespace stint::fd {

struct TcpEnd {
  const Facts* facts = nullptr;
  sys::TcpInfo info;
  InetAddress local;
  std::optional<InetAddress> remote = {};
  bool v6_only = false;
  // The network namespace of the socket, where that is not its process's: a restart has made it (net/apart.h).
  std::optional<sys::UniqueFd> apart = {};

  // Of one that is connected, or about to be.
  const TcpEnd* peer = nullptr;                  // in the job
  std::optional<sys::InetSocket> stranger = {};  // the other end, where that is not in the job, or not in its hands
  bool peer_closed = false;                      // the stranger is closed, and only TCP still works on it
  const TcpEnd* listener = nullptr;              // in whose queue the other end is, or wants to be
};

class TcpSurvey {
 public:
  static Result<std::shared_ptr<const TcpSurvey>> make(const CaptureContext& context);
  const TcpEnd& of(const Facts& facts) const { return ends_.at(facts.stat.st_ino); }
  // How many connections wait in the listener and in those that share its address, and how many of them come from
  // sockets of the job.
  struct Queue {
    uint32_t waiting = 0, known = 0;
  };
  Queue queue_of(const TcpEnd& listener) const;

 private:
  Result<> look(const CaptureContext& context);
  Result<> relate();
  const TcpEnd* find_listener(const InetAddress& address) const;
  void share_out();

  std::map<uint64_t, TcpEnd> ends_;  // by inode number
};

}  // namespace stint::fd
