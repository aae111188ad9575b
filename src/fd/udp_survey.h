// What is known of the UDP sockets of a job all at once: sock_diag(7) tells in which order those of one port were
// bound, and how each is shut down; and /proc tells which multicast groups anybody here listens to.
#pragma once

#include <map>
#include <vector>

#include "fd/kind.h"
#include "proc/multicast.h"
#include "sys/sock_diag.h"

namespace stint::fd {

class UdpSurvey {
 public:
  static Result<std::shared_ptr<const UdpSurvey>> make(const CaptureContext& context, Pid process);

  struct Seen {
    sys::InetSocket socket;
    uint32_t order = 0;  // of those with one port, lower ones were bound later
  };
  // Null: it is not bound.
  const Seen* find(uint64_t inode) const;
  // Whether a socket of the job has this port of this address.
  bool has(const InetAddress& address) const;
  const std::vector<proc::Group>& groups() const { return groups_; }

 private:
  std::map<uint64_t, Seen> seen_;  // by inode number; of the whole network namespace
  std::vector<InetAddress> ours_;
  std::vector<proc::Group> groups_;
};

}  // namespace stint::fd
