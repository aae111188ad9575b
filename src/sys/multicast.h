// Multicast groups that a socket has joined. The kernel does not list them; it tells of a given group whether the
// socket has joined it, and from whom it listens.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/inet_address.h"
#include "base/result.h"

namespace stint::sys {

struct SourceFilter {
  bool exclude = true;  // all but these; else only these
  std::vector<InetAddress> sources = {};
};

// Nothing when the socket has not joined the group (port 0) on this interface.
Result<std::optional<SourceFilter>> membership(int fd, uint32_t interface, const InetAddress& group);
Result<> join(int fd, uint32_t interface, const InetAddress& group, const SourceFilter& filter);

// Network interfaces of this process's network namespace.
Result<std::string> interface_name(uint32_t index);
Result<uint32_t> interface_index(const std::string& name);

}  // namespace stint::sys
