#include "store/reader.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "image/stream.h"
#include "store/checkpoint_dir.h"
#include "store/compression.h"
#include "sys/call.h"
#include "sys/file.h"

namespace stint::store {
namespace {

using image::PageIndexRecord;
using image::Storage;
using image::StoredBlock;
using image::StoredRun;

// Small enough to stay in the second-level cache between being read and being hashed.
constexpr size_t kHashPiece = 128 << 10;

// Opens a regular file of a checkpoint; anything else under its name (a device, a FIFO that would block us) is damage.
Result<sys::UniqueFd> open_part(const std::string& path) {
  Result<sys::UniqueFd> file = sys::open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file.has_value()) {
    int cause = file.error().os_errno();
    if (cause == ENOENT || cause == ENOTDIR || cause == ELOOP) return std::move(file).error().as(ErrorKind::kDamaged);
    return file;
  }
  struct stat found = TRY(sys::fstat(file->get()).in(path));
  if (!S_ISREG(found.st_mode)) return damaged(path + ": not a regular file");
  return file;
}

// The bytes that a block must have once it is unpacked, or why the index cannot be right.
Result<uint64_t> block_size(const StoredBlock& block) {
  if (block.runs.empty()) return damaged("has no runs");
  uint64_t size = 0, last_end = 0;
  for (const StoredRun& run : block.runs) {
    uint64_t end = 0;
    if (run.size == 0 || run.size > image::kPageBufferSize) return damaged("a run of an impossible size");
    if (__builtin_add_overflow(run.offset, run.size, &end)) return damaged("a run beyond the end of memory");
    if (run.offset < last_end) return damaged("its runs are not in order");
    last_end = end;
    size += run.size;
    if (size > image::kPageBufferSize) return damaged("larger than a block can be");
  }
  return size;
}

Result<> check_place(const StoredBlock& block, uint64_t size, uint64_t pages_size) {
  if (block.storage > Storage::kZstd) return damaged("stored in a way that is not known");
  if (block.storage == Storage::kZero)
    return block.stored_size == 0 ? Result<>() : damaged("a zero block that holds bytes");
  if (block.stored_size == 0 || block.stored_size > size) return damaged("stored in an impossible size");
  if (block.stored_at > pages_size || block.stored_size > pages_size - block.stored_at)
    return damaged("lies beyond the end of the pages");
  if (block.storage == Storage::kRaw && (block.stored_size != size || block.stored_at % kPageSize != 0))
    return damaged("a raw block in the wrong place");
  return {};
}

}  // namespace

Result<std::unique_ptr<Reader>> Reader::open(const std::string& directory) {
  std::unique_ptr<Reader> reader(new Reader());
  reader->directory_ = directory;
  std::string path = directory + "/" + kRecordsFile;
  sys::UniqueFd file = TRY(open_part(path).in("no checkpoint"));
  Bytes stream = TRY(sys::read_to_end(file.get()).in(path));
  reader->records_ = TRY(image::decode_stream(stream).in(path));
  TRY(reader->take_index().in(path));
  TRY(reader->open_pages());
  for (uint64_t number = 0; number < reader->index_.blocks.size(); ++number) TRY(reader->add_block(number));
  TRY(reader->check_overlaps().in(path));
  return reader;
}

Result<> Reader::take_index() {
  if (records_.empty() || records_.back().type != image::RecordType::kPageIndex)
    return damaged("its last record is not the index of its pages");
  index_ = TRY(image::decode<PageIndexRecord>(records_.back().payload));
  records_.pop_back();
  for (const image::Record& record : records_)
    if (record.type == image::RecordType::kPageIndex) return damaged("has two indexes of its pages");
  return {};
}

Result<> Reader::open_pages() {
  std::string path = directory_ + "/" + kPagesFile;
  pages_ = TRY(open_part(path));
  struct stat found = TRY(sys::fstat(pages_.get()).in(path));
  pages_size_ = static_cast<uint64_t>(found.st_size);
  if (pages_size_ != index_.pages_size)
    return damaged(fmt::format("{}: has {} bytes and should have {}", path, pages_size_, index_.pages_size));
  return {};
}

Result<> Reader::add_block(uint64_t number) {
  const StoredBlock& stored = index_.blocks[number];
  uint64_t size = TRY(block_size(stored).in(title(number)));
  TRY(check_place(stored, size, pages_size_).in(title(number)));
  Block block{.number = number, .runs = {}, .all_zero = stored.storage == Storage::kZero};
  for (const StoredRun& run : stored.runs) block.runs.push_back({stored.space, run.offset, run.size});
  spaces_[stored.space].push_back(std::move(block));
  return {};
}

Result<> Reader::check_overlaps() const {
  for (const auto& [space, blocks] : spaces_) {
    std::vector<Range> ranges;
    for (const Block& block : blocks)
      for (const image::PageRun& run : block.runs) ranges.push_back({run.offset, run.offset + run.size});
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.start < b.start; });
    for (size_t i = 1; i < ranges.size(); ++i)
      if (ranges[i].start < ranges[i - 1].end)
        return damaged(fmt::format("holds the page at {:#x} of space {:#x} twice", ranges[i].start, space));
  }
  return {};
}

const std::vector<image::Source::Block>& Reader::blocks(uint64_t space) const {
  static const std::vector<Block> none;
  auto found = spaces_.find(space);
  return found == spaces_.end() ? none : found->second;
}

Result<> Reader::read(const Block& block, std::byte* to) const {
  const StoredBlock& stored = index_.blocks[block.number];
  uint64_t size = 0;
  for (const StoredRun& run : stored.runs) size += run.size;
  std::span<std::byte> out(to, size);
  if (stored.storage == Storage::kRaw) {
    TRY(sys::pread_all(pages_.get(), out, stored.stored_at).in(title(block.number)));
  } else {
    Bytes packed(stored.stored_size);
    TRY(sys::pread_all(pages_.get(), packed, stored.stored_at).in(title(block.number)));
    TRY(unpack(stored.storage, packed, out).in(title(block.number)));
  }
  if (stored.storage != Storage::kZero && hash128(out) != stored.content)
    return damaged(title(block.number) + ": its checksum is wrong");
  return {};
}

Result<std::optional<image::RawLocation>> Reader::raw_location(const Block& block) const {
  const StoredBlock& stored = index_.blocks[block.number];
  if (stored.storage != Storage::kRaw) return std::optional<image::RawLocation>();
  TRY(check_raw(block.number));
  return std::optional(image::RawLocation{directory_ + "/" + kPagesFile, stored.stored_at});
}

Result<> Reader::check_raw(uint64_t number) const {
  const StoredBlock& stored = index_.blocks[number];
  // Read in pieces instead of mapped: a file cut short behind our back is then an error, not a SIGBUS.
  alignas(64) thread_local std::array<std::byte, kHashPiece> piece;
  Hasher content;
  for (uint64_t done = 0; done < stored.stored_size; done += kHashPiece) {
    std::span<std::byte> part(piece.data(), std::min<uint64_t>(kHashPiece, stored.stored_size - done));
    TRY(sys::pread_all(pages_.get(), part, stored.stored_at + done).in(title(number)));
    content.update(part);
  }
  if (content.digest() != stored.content) return damaged(title(number) + ": its checksum is wrong");
  return {};
}

Result<> Reader::verify_block(uint64_t number) const {
  const StoredBlock& stored = index_.blocks[number];
  if (stored.storage == Storage::kZero) return {};
  if (stored.storage == Storage::kRaw) return check_raw(number);
  thread_local Bytes space;
  space.resize(image::kPageBufferSize);
  return read(Block{.number = number, .runs = {}, .all_zero = false}, space.data());
}

std::string Reader::title(uint64_t number) const {
  const StoredBlock& stored = index_.blocks[number];
  uint64_t start = stored.runs.empty() ? 0 : stored.runs.front().offset;
  return fmt::format("{}/{}: block {} (space {:#x}, from {:#x})", directory_, kPagesFile, number, stored.space, start);
}

Result<> Reader::raise_descriptors(int floor) {
  long raised = TRY(sys::call("F_DUPFD_CLOEXEC", [&] { return ::fcntl(pages_.get(), F_DUPFD_CLOEXEC, floor); }));
  pages_ = sys::UniqueFd(static_cast<int>(raised));
  return {};
}

}  // namespace stint::store
