// The UDP sockets of a job made again, all of them together: they share ports, and what waits in one was sent by
// another.
#pragma once

#include <map>
#include <vector>

#include "base/result.h"
#include "image/inet_records.h"
#include "sys/fd.h"

namespace stint::net {

// By the inode number of old.
Result<std::map<uint64_t, sys::UniqueFd>> rebuild_udp(const std::vector<image::UdpRecord>& records);

}  // namespace stint::net
