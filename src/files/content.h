// The content of a regular file: hashed, saved with the checkpoint, and written again. Holes are neither read nor
// saved, and a block of zeros counts as a hole, so that a sparse file and its copy without holes have the same hash.
#pragma once

#include "base/hash.h"
#include "base/result.h"
#include "image/record.h"

namespace stint::files {

// Hashed and saved in blocks of this size; one that is all zero is left out.
inline constexpr uint64_t kContentBlock = 64 << 10;

// The hash of the first `size` bytes behind `fd`. `fd` must be a description of our own: its position moves. A file
// that turns out to be shorter is an error.
Result<Hash128> hash_content(int fd, uint64_t size);

// The same, and hands what is not zero to the sink under `space`.
Result<Hash128> save_content(int fd, uint64_t size, uint64_t space, image::Sink& sink);

// Bytes that write_content() will write.
uint64_t stored_size(const image::Source& source, uint64_t space);

// Writes what was saved to its places in the file behind `fd`; what was zero then is left as it is. kDamaged when it
// reaches beyond `size`.
Result<> write_runs(const image::Source& source, uint64_t space, uint64_t size, int fd);

// Makes the file behind `fd` (open for writing, whatever it held) the saved content of `size` bytes.
Result<> write_content(const image::Source& source, uint64_t space, uint64_t size, int fd);

}  // namespace stint::files
