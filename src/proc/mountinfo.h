// /proc/PID/mountinfo: the mounts that a process sees. Blanks, tabs, newlines and backslashes in names are octal there.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace stint::proc {

struct Mount {
  uint64_t id = 0, parent = 0;
  uint32_t major = 0, minor = 0;
  std::string root;         // which directory of the file system is mounted
  std::string mount_point;  // below the process's root
  std::string options;
  std::vector<std::string> tags;  // "shared:1", "master:2" ...
  std::string fs_type;
  std::string source;
  std::string super_options;

  // As stat(2) gives it in st_dev (not on btrfs).
  uint64_t device() const;
};

// In the kernel's order: a later mount lies over an earlier one at the same place.
Result<std::vector<Mount>> parse_mountinfo(std::string_view text);

}  // namespace stint::proc
