// /proc/net/netlink: the netlink sockets of a network namespace.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"

namespace stint::proc {

struct NetlinkSocket {
  int protocol = 0;    // NETLINK_*
  uint32_t port = 0;   // its own number; the kernel's are 0
  bool dumps = false;  // an answer in many parts is not at its end
  uint64_t inode = 0;
};

Result<std::vector<NetlinkSocket>> parse_netlink(std::string_view text);

}  // namespace stint::proc
