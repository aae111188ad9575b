#include "files/content.h"

#include <algorithm>
#include <cstring>

#include "sys/file.h"
#include "sys/inode.h"

namespace stint::files {
namespace {

bool all_zero(ByteView bytes) {
  // Compares the bytes with themselves one further: the C library does it a vector at a time.
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// Collects blocks in the sink's buffers.
class Saver {
 public:
  Saver(image::Sink& sink, uint64_t space) : sink_(sink), space_(space) {}

  // Room for one block.
  Result<std::byte*> room() {
    if (buffer_ != nullptr && used_ + kContentBlock > image::kPageBufferSize) TRY(flush());
    if (buffer_ == nullptr) buffer_ = TRY(sink_.page_buffer());
    return buffer_->data() + used_;
  }
  // Keeps what was put into the room.
  void keep(uint64_t offset, uint64_t size) {
    if (!runs_.empty() && runs_.back().offset + runs_.back().size == offset)
      runs_.back().size += size;
    else
      runs_.push_back({.space = space_, .offset = offset, .size = size});
    used_ += size;
  }
  Result<> flush() {
    if (runs_.empty()) return {};
    used_ = 0;
    return sink_.put_pages(std::exchange(runs_, {}), std::exchange(buffer_, nullptr));
  }

 private:
  image::Sink& sink_;
  uint64_t space_;
  std::unique_ptr<image::PageBuffer> buffer_;
  std::vector<image::PageRun> runs_;
  uint64_t used_ = 0;
};

Result<Hash128> walk(int fd, uint64_t size, Saver* saver) {
  Hasher hasher;
  Bytes own(saver == nullptr ? kContentBlock : 0);
  uint64_t offset = 0;
  while (offset < size) {
    Range data = TRY(sys::next_data(fd, offset, size));
    // A block may begin in a hole, and be partly read already.
    offset = std::max(offset, data.start / kContentBlock * kContentBlock);
    for (; offset < data.end; offset += kContentBlock) {
      uint64_t length = std::min(kContentBlock, size - offset);
      std::byte* room = saver == nullptr ? own.data() : TRY(saver->room());
      TRY(sys::pread_all(fd, {room, length}, offset));
      if (all_zero({room, length})) continue;
      hasher.update({reinterpret_cast<const std::byte*>(&offset), sizeof(offset)});
      hasher.update({room, length});
      if (saver != nullptr) saver->keep(offset, length);
    }
    if (data.empty()) break;
  }
  hasher.update({reinterpret_cast<const std::byte*>(&size), sizeof(size)});
  if (saver != nullptr) TRY(saver->flush());
  return hasher.digest();
}

}  // namespace

Result<Hash128> hash_content(int fd, uint64_t size) { return walk(fd, size, nullptr); }

Result<Hash128> save_content(int fd, uint64_t size, uint64_t space, image::Sink& sink) {
  Saver saver(sink, space);
  return walk(fd, size, &saver);
}

uint64_t stored_size(const image::Source& source, uint64_t space) {
  uint64_t size = 0;
  for (const image::Source::Block& block : source.blocks(space)) {
    if (block.all_zero) continue;
    for (const image::PageRun& run : block.runs) size += run.size;
  }
  return size;
}

Result<> write_content(const image::Source& source, uint64_t space, uint64_t size, int fd) {
  TRY(sys::ftruncate(fd, 0));  // All that is not written below is a hole.
  TRY(sys::ftruncate(fd, size));
  return write_runs(source, space, size, fd);
}

Result<> write_runs(const image::Source& source, uint64_t space, uint64_t size, int fd) {
  Bytes buffer(image::kPageBufferSize);
  for (const image::Source::Block& block : source.blocks(space)) {
    if (block.all_zero) continue;
    TRY(source.read(block, buffer.data()));
    uint64_t at = 0;
    for (const image::PageRun& run : block.runs) {
      if (run.size > buffer.size() - at || run.offset > size || run.size > size - run.offset)
        return damaged("the saved content of a file reaches beyond its end");
      TRY(sys::pwrite_all(fd, ByteView(buffer).subspan(at, run.size), run.offset));
      at += run.size;
    }
  }
  return {};
}

}  // namespace stint::files
