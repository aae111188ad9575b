// Pipes: one kernel buffer with two ends.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

struct PipeEnds {
  UniqueFd read, write;
};
Result<PipeEnds> pipe();

Result<uint32_t> pipe_size(int fd);
// Rounded up by the kernel. EPERM above fs.pipe-max-size, EBUSY below what is queued.
Result<> set_pipe_size(int fd, uint32_t bytes);

struct PipeContent {
  Bytes bytes;
  std::vector<uint32_t> pieces;  // what each read(2) would give: the packets, in packet mode
};
// Copies what is queued without draining it (tee(2)). `fd` is a read end.
Result<PipeContent> peek_pipe(int fd);

// Whether nothing is queued and nobody has it open for writing. `fd` is a read end.
Result<bool> pipe_is_at_end(int fd);

}  // namespace stint::sys
