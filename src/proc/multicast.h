// /proc/PID/net/igmp and igmp6: which multicast groups this host listens to, whoever asked for it, by interface.
#pragma once

#include <string_view>
#include <vector>

#include "base/inet_address.h"
#include "base/result.h"

namespace stint::proc {

struct Group {
  uint32_t interface = 0;
  InetAddress address;  // port 0
};

Result<std::vector<Group>> parse_igmp(std::string_view text);
Result<std::vector<Group>> parse_igmp6(std::string_view text);

}  // namespace stint::proc
