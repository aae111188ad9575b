#include "mem/copy.h"

#include <fmt/format.h>
#include <limits.h>

#include <algorithm>

#include "sys/ptrace.h"

namespace stint::mem {

Result<> Copier::add(uint64_t address, uint64_t offset, uint64_t size, bool through_file) {
  while (size > 0) {
    uint64_t now = std::min<uint64_t>(size, image::kPageBufferSize - filled_);
    if (!runs_.empty() && runs_.back().offset + runs_.back().size == offset) {
      runs_.back().size += now;
    } else {
      runs_.push_back({space_, offset, now});
    }
    pieces_.push_back({address, now, through_file});
    filled_ += now, bytes_ += now;
    address += now, offset += now, size -= now;
    if (filled_ == image::kPageBufferSize || pieces_.size() == IOV_MAX) TRY(finish());
  }
  return {};
}

Result<> Copier::finish() {
  if (runs_.empty()) return {};
  std::unique_ptr<image::PageBuffer> buffer = TRY(sink_.page_buffer());
  Result<> done = read(buffer->data());
  if (!done.has_value() && unreadable_ == Unreadable::kFails) return done;
  if (done.has_value()) {
    TRY(sink_.put_pages(std::move(runs_), std::move(buffer)));
  } else {
    for (const image::PageRun& run : runs_) left_out_.push_back({run.offset, run.offset + run.size});
    bytes_ -= filled_;
  }
  runs_.clear();
  pieces_.clear();
  filled_ = 0;
  return {};
}

// All pieces, one after another.
Result<> Copier::read(std::byte* to) {
  for (size_t first = 0; first < pieces_.size();) {
    size_t last = first;
    if (pieces_[first].through_file) {
      TRY(read_through_file(pieces_[first], to));
      to += pieces_[first].size;
      ++first;
      continue;
    }
    std::vector<iovec> remote;
    uint64_t size = 0;
    for (; last < pieces_.size() && !pieces_[last].through_file; ++last) {
      remote.push_back({reinterpret_cast<void*>(pieces_[last].address), pieces_[last].size});
      size += pieces_[last].size;
    }
    size_t got = TRY(sys::read_memory_pieces(process_, remote, to, size));
    if (got != size) return failed(fmt::format("memory near {:#x} cannot be read", pieces_[first].address));
    to += size;
    first = last;
  }
  return {};
}

Result<> Copier::read_through_file(const Piece& piece, std::byte* to) {
  if (!memory_file_.valid()) memory_file_ = TRY(sys::open_memory(process_));
  return sys::read_memory_file(memory_file_.get(), piece.address, to, piece.size)
      .in(fmt::format("memory at {:#x}", piece.address));
}

}  // namespace stint::mem
