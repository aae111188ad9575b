#include "store/reader.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "image/stream.h"
#include "store/checkpoint_dir.h"
#include "store/compression.h"
#include "sys/file.h"

namespace stint::store {
namespace {

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

Result<> check_runs(const StoredBlock& block) {
  if (block.runs.empty()) return damaged("has no runs");
  // A block of zeroes has no bytes in which its runs could lie.
  uint64_t most = block.storage == Storage::kZero ? image::kPageBufferSize : block.size;
  if (most > image::kPageBufferSize) return damaged("larger than a block can be");
  uint64_t last_end = 0, last_at = 0;
  for (const StoredRun& run : block.runs) {
    uint64_t end = 0, at_end = 0;
    if (run.size == 0 || run.size > image::kPageBufferSize) return damaged("a run of an impossible size");
    if (__builtin_add_overflow(run.offset, run.size, &end)) return damaged("a run beyond the end of memory");
    if (run.offset < last_end || run.at < last_at) return damaged("its runs are not in order");
    if (__builtin_add_overflow(run.at, run.size, &at_end) || at_end > most) return damaged("a run beyond its end");
    last_end = end, last_at = at_end;
  }
  return {};
}

Result<> check_place(const StoredBlock& block, uint64_t pages_size) {
  if (block.storage > Storage::kZstd) return damaged("stored in a way that is not known");
  if (block.storage == Storage::kZero)
    return block.stored_size == 0 && block.size == 0 ? Result<>() : damaged("a zero block that holds bytes");
  if (block.stored_size == 0 || block.stored_size > block.size) return damaged("stored in an impossible size");
  if (block.stored_at > pages_size || block.stored_size > pages_size - block.stored_at)
    return damaged("lies beyond the end of the pages");
  if (block.storage == Storage::kRaw && (block.stored_size != block.size || block.stored_at % kPageSize != 0))
    return damaged("a raw block in the wrong place");
  return {};
}

}  // namespace

Result<std::unique_ptr<Reader>> Reader::open(const std::string& directory) {
  std::unique_ptr<Reader> reader(new Reader());
  reader->directory_ = directory;
  std::string path = directory + "/" + kRecordsFile;
  TRY(reader->read_records(path));
  TRY(reader->open_pages());
  for (uint64_t number = 0; number < reader->index_.blocks.size(); ++number) TRY(reader->add_block(number));
  TRY(reader->check_overlaps().in(path));
  return reader;
}

Result<image::PageIndex> Reader::index_of(const std::string& directory) {
  Reader reader;
  TRY(reader.read_records(directory + "/" + kRecordsFile));
  return std::move(reader.index_);
}

Result<> Reader::read_records(const std::string& path) {
  sys::UniqueFd file = TRY(open_part(path).in("no checkpoint"));
  Bytes stream = TRY(sys::read_to_end(file.get()).in(path));
  records_ = TRY(image::decode_stream(stream).in(path));
  return take_index().in(path);
}

Result<> Reader::take_index() {
  if (records_.empty() || records_.back().type != image::RecordType::kPageIndex)
    return damaged("its last record is not the index of its pages");
  index_ = TRY(image::decode_index(records_.back().payload));
  records_.pop_back();
  for (const image::Record& record : records_)
    if (record.type == image::RecordType::kPageIndex) return damaged("has two indexes of its pages");
  return {};
}

Result<> Reader::open_pages() {
  TRY(open_pages_of(0, directory_, index_.pages_size));
  std::string beside = directory_.substr(0, directory_.rfind('/'));
  for (const image::LeansOn& other : index_.leans_on) {
    if (other.checkpoint == 0 || files_.contains(other.checkpoint)) return damaged(directory_ + ": leans on nothing");
    TRY(open_pages_of(other.checkpoint, directory_of_pages(beside, other.checkpoint), other.pages_size)
            .in(fmt::format("{} leans on checkpoint {}, which must lie beside it", directory_, other.checkpoint)));
  }
  return {};
}

Result<> Reader::open_pages_of(uint64_t checkpoint, const std::string& directory, uint64_t size) {
  PagesFile file{directory + "/" + kPagesFile, sys::UniqueFd(), 0};
  file.fd = TRY(open_part(file.path));
  // While it is read, nobody makes holes in it (store/prune.cc). Where there are no locks, such a block is damaged.
  static_cast<void>(sys::try_lock(file.fd.get(), sys::Lock::kShared).has_value());
  file.size = static_cast<uint64_t>(TRY(sys::fstat(file.fd.get()).in(file.path)).st_size);
  if (file.size != size) return damaged(fmt::format("{}: has {} bytes and should have {}", file.path, file.size, size));
  files_.emplace(checkpoint, std::move(file));
  return {};
}

Result<> Reader::add_block(uint64_t number) {
  const StoredBlock& stored = index_.blocks[number];
  if (stored.storage != Storage::kZero && !files_.contains(stored.checkpoint))
    return damaged(fmt::format("{}: block {} lies in a checkpoint that is not named", directory_, number));
  TRY(check_runs(stored).in(title(number)));
  TRY(check_place(stored, stored.storage == Storage::kZero ? 0 : file_of(stored).size).in(title(number)));
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
  uint64_t live = stored.live();
  if (stored.storage == Storage::kZero) {
    std::fill_n(to, live, std::byte{0});
    return {};
  }
  if (live == stored.size) return read_whole(block.number, {to, live});
  // Not all of it is wanted any more.
  thread_local Bytes whole;
  whole.resize(stored.size);
  TRY(read_whole(block.number, whole));
  for (const StoredRun& run : stored.runs) {
    std::memcpy(to, whole.data() + run.at, run.size);
    to += run.size;
  }
  return {};
}

Result<> Reader::read_whole(uint64_t number, std::span<std::byte> to) const {
  const StoredBlock& stored = index_.blocks[number];
  int pages = file_of(stored).fd.get();
  if (stored.storage == Storage::kRaw) {
    TRY(sys::pread_all(pages, to, stored.stored_at).in(title(number)));
  } else {
    thread_local Bytes packed;
    packed.resize(stored.stored_size);
    TRY(sys::pread_all(pages, packed, stored.stored_at).in(title(number)));
    TRY(unpack(stored.storage, packed, to).in(title(number)));
  }
  if (image::content_of(image::page_hashes(to)) != stored.content)
    return damaged(title(number) + ": its checksum is wrong");
  return {};
}

Result<std::optional<image::RawLocation>> Reader::raw_location(const Block& block) const {
  const StoredBlock& stored = index_.blocks[block.number];
  if (stored.storage != Storage::kRaw || stored.live() != stored.size) return std::optional<image::RawLocation>();
  TRY(check_raw(block.number));
  return std::optional(image::RawLocation{file_of(stored).path, stored.stored_at});
}

Result<> Reader::check_raw(uint64_t number) const {
  const StoredBlock& stored = index_.blocks[number];
  // Read in pieces instead of mapped: a file cut short behind our back is then an error, not a SIGBUS.
  alignas(64) thread_local std::array<std::byte, kHashPiece> piece;
  std::vector<Hash128> hashes;
  for (uint64_t done = 0; done < stored.stored_size; done += kHashPiece) {
    std::span<std::byte> part(piece.data(), std::min<uint64_t>(kHashPiece, stored.stored_size - done));
    TRY(sys::pread_all(file_of(stored).fd.get(), part, stored.stored_at + done).in(title(number)));
    std::ranges::copy(image::page_hashes(part), std::back_inserter(hashes));
  }
  if (image::content_of(hashes) != stored.content) return damaged(title(number) + ": its checksum is wrong");
  return {};
}

Result<> Reader::read_stored(uint64_t number, uint64_t at, std::span<std::byte> to) const {
  const StoredBlock& stored = index_.blocks[number];
  return sys::pread_all(file_of(stored).fd.get(), to, stored.stored_at + at).in(title(number));
}

Result<> Reader::verify_block(uint64_t number) const {
  const StoredBlock& stored = index_.blocks[number];
  if (stored.storage == Storage::kZero) return {};
  if (stored.storage == Storage::kRaw) return check_raw(number);
  thread_local Bytes space;
  space.resize(stored.size);
  return read_whole(number, space);
}

std::string Reader::title(uint64_t number) const {
  const StoredBlock& stored = index_.blocks[number];
  uint64_t start = stored.runs.empty() ? 0 : stored.runs.front().offset;
  auto file = files_.find(stored.checkpoint);
  const std::string& path = file == files_.end() ? directory_ : file->second.path;
  return fmt::format("{}: block {} (space {:#x}, from {:#x})", path, number, stored.space, start);
}

}  // namespace stint::store
