// Copying memory out of the target into the sink's buffers, at memory speed: many pages a call, whole blocks at a time.
#pragma once

#include "base/bytes.h"
#include "base/remote.h"
#include "image/record.h"
#include "sys/fd.h"

namespace stint::mem {

// What becomes of a block of which something cannot be read.
enum class Unreadable {
  kFails,
  kLeftOut,  // all of the block: the process runs, and may have unmapped it
};

// Gathers ranges of one space into blocks and hands each full block to the sink.
class Copier {
 public:
  Copier(Pid process, uint64_t space, image::Sink& sink, Unreadable unreadable = Unreadable::kFails)
      : process_(process), space_(space), sink_(sink), unreadable_(unreadable) {}

  // Adds the target's memory at `address` as bytes [offset, offset + size) of the space; offsets ascend. Where
  // `through_file` is set, /proc/PID/mem is used: for pages that the program itself cannot touch.
  Result<> add(uint64_t address, uint64_t offset, uint64_t size, bool through_file);
  // Hands over what is left.
  Result<> finish();

  uint64_t bytes() const { return bytes_; }
  // What was left out, as ranges of the space, by offset.
  const std::vector<Range>& left_out() const { return left_out_; }

 private:
  struct Piece {
    uint64_t address, size;
    bool through_file;
  };
  Result<> read(std::byte* to);
  Result<> read_through_file(const Piece& piece, std::byte* to);

  Pid process_;
  uint64_t space_;
  image::Sink& sink_;
  Unreadable unreadable_;
  std::vector<Range> left_out_;
  std::vector<image::PageRun> runs_;
  std::vector<Piece> pieces_;
  uint64_t filled_ = 0;
  uint64_t bytes_ = 0;
  sys::UniqueFd memory_file_;
};

}  // namespace stint::mem
