// Bringing saved pages into a process from outside, by all cores: blocks are verified and decompressed on as many
// threads as there are processors, and written by process_vm_writev(2), which faults in what is missing. Pages that the
// program itself may not write go through /proc/PID/mem.
#pragma once

#include <functional>

#include "base/remote.h"
#include "image/record.h"

namespace stint::mem {

struct FillTarget {
  uint64_t address = 0;
  bool through_file = false;
};

// Where the byte at `offset` of the space belongs, and how many bytes from there on belong right behind it (written to
// *contiguous). Fails for an offset that no mapping has.
using Placement = std::function<Result<FillTarget>(uint64_t offset, uint64_t* contiguous)>;

// `zero_matters`: blocks of zeroes are written too (over a file's content); fresh anonymous memory has them anyway.
Result<> fill_space(Pid process, const image::Source& source, uint64_t space, const Placement& place,
                    const std::function<bool(uint64_t offset)>& zero_matters);

}  // namespace stint::mem
