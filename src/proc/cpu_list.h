// A list of processors as the kernel writes it: /sys/devices/system/cpu/possible, "0-3,8".
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace stint::proc {

// Their numbers, ascending. A list that is no list, or longer than any kernel's, is an error.
Result<std::vector<uint32_t>> parse_cpu_list(std::string_view text);

}  // namespace stint::proc
