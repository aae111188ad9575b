// Namespaces: a process enters new ones by unshare(2). For pids and clocks it is only the children that are in them.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/result.h"

namespace stint::sys {

// CLONE_NEW* flags. NEWUSER fails with EINVAL in a multithreaded process, EPERM or ENOSPC where it is forbidden.
Result<> unshare(int flags);

// Just after unshare(CLONE_NEWUSER): this user and group, and no other, exist inside, under their own numbers.
// Groups cannot be changed any more: the kernel demands that from an ordinary user.
Result<> map_own_ids(uid_t uid, gid_t gid);

// Just after unshare(CLONE_NEWTIME), before the first fork: what CLOCK_MONOTONIC and CLOCK_BOOTTIME show inside becomes
// this much more than they show to the caller. ERANGE: a clock would be negative.
Result<> move_clocks(int64_t monotonic_ns, int64_t boottime_ns);

// What is mounted inside does not show outside; what is mounted outside (a home directory by the automounter) shows
// inside.
Result<> make_mounts_slave();

// A /proc of this process's own pid namespace over the one that is there. EPERM where the old one has parts covered
// (containers): the kernel will not show through a new mount what was hidden in the old.
Result<> mount_proc();

}  // namespace stint::sys
