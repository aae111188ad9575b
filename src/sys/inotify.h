// inotify groups and their watches.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

Result<UniqueFd> inotify();
// The number of the watch. A second watch of one inode in a group is the first one, with another mask.
Result<int> watch_inode(int inotify, const std::string& path, uint32_t mask);
// Queues an IN_IGNORED.
Result<> unwatch_inode(int inotify, int watch);
// Reads and forgets the events that wait; whether there were any.
Result<bool> drop_events(int inotify);

}  // namespace stint::sys
