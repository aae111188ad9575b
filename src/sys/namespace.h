// Namespaces: a process enters new ones by unshare(2). For pids and clocks it is only the children that are in them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/remote.h"
#include "base/result.h"

namespace stint::sys {

// CLONE_NEW* flags. NEWUSER fails with EINVAL in a multithreaded process, EPERM or ENOSPC where it is forbidden.
Result<> unshare(int flags);
// Those of another process. NEWUSER as unshare; the others need CAP_SYS_ADMIN over them, which comes with the user
// namespace that they belong to.
Result<> enter_namespaces_of(Pid process, int flags);

// Whether the process is in the same namespace as we; `kind` as in /proc/PID/ns: "ipc".
Result<bool> shares_namespace(Pid process, const std::string& kind);

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

// Pseudoterminals of this mount namespace's own, numbered from 0: a devpts over /dev/pts, and its ptmx as /dev/ptmx
// (filesystems/devpts.rst). `tty_group`: the group of their slaves, who may write to them; needs a gid map that has it.
// Without, the slaves are their owner's alone.
Result<> mount_pts(std::optional<gid_t> tty_group);

}  // namespace stint::sys
