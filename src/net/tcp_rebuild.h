// The TCP sockets of a job, all of them at once: they stand in one another's way, and the order decides. First the
// connections, while no listener has its port yet; then what is bound; then the listeners; then the connections that
// wait in them; then what was queued; then what is shut; options last.
#pragma once

#include <map>
#include <vector>

#include "base/result.h"
#include "image/inet_records.h"
#include "sys/fd.h"

namespace stint::net {

// By the inode number in the record. The status flags are left to the caller; the sockets are O_NONBLOCK.
Result<std::map<uint64_t, sys::UniqueFd>> rebuild_tcp(const std::vector<image::TcpRecord>& records);

}  // namespace stint::net
