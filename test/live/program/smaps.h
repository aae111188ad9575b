// What /proc/self/smaps tells of a mapping.
#pragma once

#include <stdio.h>

#include <sstream>
#include <string>

#include "test/live/program/descriptors.h"

namespace live {

// What stands behind "key:" for the mapping that holds the address; "not mapped" when there is none.
inline std::string smaps_field(const void* address, const std::string& key) {
  std::istringstream smaps(read_whole("/proc/self/smaps"));
  const unsigned long wanted = reinterpret_cast<unsigned long>(address);
  bool here = false;
  for (std::string line; std::getline(smaps, line);) {
    unsigned long start;
    unsigned long end;
    if (sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) here = wanted >= start && wanted < end;
    if (here && line.starts_with(key + ":")) return line.substr(key.size() + 1);
  }
  return "not mapped";
}

}  // namespace live
