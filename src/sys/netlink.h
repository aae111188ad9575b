// Netlink sockets: their addresses are numbers, given by the kernel or asked for.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace stint::sys {

struct NetlinkAddress {
  uint32_t port = 0, groups = 0;  // groups: a mask of the first 32
};

Result<NetlinkAddress> netlink_address(int fd);
Result<NetlinkAddress> netlink_peer(int fd);  // both 0: the kernel
Result<> bind_netlink(int fd, uint32_t port);
Result<> connect_netlink(int fd, const NetlinkAddress& to);

// Of the multicast groups that the socket has joined, the numbers, from 1.
Result<std::vector<uint32_t>> netlink_groups(int fd);
Result<> join_netlink_group(int fd, uint32_t group);

}  // namespace stint::sys
