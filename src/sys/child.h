// Work in a child that shares our descriptors, and nothing else: what a system call notes of its caller (the number and
// the user behind SO_PEERCRED), what names mean to it (root, working directory), umask.
#pragma once

#include <sys/types.h>

#include <array>
#include <functional>
#include <optional>

#include "base/result.h"

namespace stint::sys {

struct ChildRequest {
  pid_t number = 0;  // 0: any. Needs CAP_CHECKPOINT_RESTORE over the pid namespace; EEXIST when it is in use
  std::optional<uid_t> user = {};
  std::optional<gid_t> group = {};
};

// Descriptors that the work made; -1 for none. They are ours as well.
using MadeFds = std::array<int, 2>;

// Runs `work` in such a child, waits for its end and gives what it gave. Whatever `work` closes is closed here, too: it
// owns nothing but what it makes. The caller is single-threaded.
Result<MadeFds> in_child(const ChildRequest& request, const std::function<Result<MadeFds>()>& work);

// In such a child: the root and working directory become an empty file system that nobody else sees, and that lasts as
// long as something in it is open. Without privilege over the mounts this makes a user namespace of the child's own.
Result<> enter_empty_root();

void set_umask(mode_t mask);

}  // namespace stint::sys
