#include "store/transfer.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "image/stream.h"
#include "store/checkpoint_dir.h"
#include "store/reader.h"
#include "store/verify.h"
#include "sys/file.h"

namespace stint::store {
namespace {

constexpr std::array<char, 16> kMagic = {'s', 't', 'i', 'n', 't',  ' ',    'e', 'x',
                                         'p', 'o', 'r', 't', '\n', '\x1a', 1,   0};
constexpr uint64_t kLargestSection = uint64_t{1} << 32;
constexpr size_t kPiece = 1 << 20;

// What is copied piece by piece.
Bytes& piece() {
  thread_local Bytes bytes(kPiece);
  return bytes;
}

Result<> read_exactly(int fd, std::span<std::byte> to) {
  while (!to.empty()) {
    size_t got = TRY(sys::read(fd, to));
    if (got == 0) return damaged("the stream ends too early");
    to = to.subspan(got);
  }
  return {};
}

// Its size, then its bytes.
Result<> write_section(int fd, ByteView bytes) {
  uint64_t size = bytes.size();
  TRY(sys::write_all(fd, std::as_bytes(std::span(&size, 1))));
  return sys::write_all(fd, bytes);
}

Result<Bytes> read_section(int fd) {
  uint64_t size = 0;
  TRY(read_exactly(fd, std::as_writable_bytes(std::span(&size, 1))));
  if (size > kLargestSection) return damaged("a section that is larger than any can be");
  Bytes bytes;
  // As much memory as there is content, whatever it says.
  while (bytes.size() < size) {
    size_t had = bytes.size();
    bytes.resize(had + std::min<uint64_t>(kPiece, size - had));
    TRY(read_exactly(fd, std::span(bytes).subspan(had)));
  }
  return bytes;
}

// Where each block goes in `pages`, one behind the other.
image::PageIndex flattened(const image::PageIndex& from) {
  image::PageIndex index;
  index.blocks = from.blocks;
  for (image::StoredBlock& block : index.blocks) {
    block.checkpoint = 0, block.hashes_at = 0;
    if (block.storage == image::Storage::kZero) continue;
    if (block.storage == image::Storage::kRaw) index.pages_size = page_up(index.pages_size);
    block.stored_at = index.pages_size;
    index.pages_size += block.stored_size;
  }
  return index;
}

Result<> write_zeros(int fd, uint64_t count) {
  const std::array<std::byte, kPageSize> zeros{};
  CHECK(count < zeros.size());
  return sys::write_all(fd, ByteView(zeros).first(count));
}

Result<> write_blocks(const Reader& reader, const image::PageIndex& flat, int fd) {
  uint64_t at = 0;
  for (uint64_t number = 0; number < flat.blocks.size(); ++number) {
    const image::StoredBlock& block = flat.blocks[number];
    if (block.storage == image::Storage::kZero) continue;
    TRY(reader.verify_block(number));
    TRY(write_zeros(fd, block.stored_at - at));
    for (uint64_t done = 0; done < block.stored_size;) {
      std::span<std::byte> part = std::span(piece()).first(std::min<uint64_t>(kPiece, block.stored_size - done));
      TRY(reader.read_stored(number, done, part));
      TRY(sys::write_all(fd, part));
      done += part.size();
    }
    at = block.stored_at + block.stored_size;
  }
  return {};
}

Bytes stream_of(const Reader& reader, const image::PageIndex& index) {
  image::StreamEncoder records;
  for (const image::Record& record : reader.records()) records.put(record);
  records.put({.type = image::RecordType::kPageIndex, .payload = image::encode_index(index)});
  records.finish();
  return records.take();
}

}  // namespace

Result<> export_checkpoint(const std::string& directory, int fd) {
  std::unique_ptr<Reader> reader = TRY(Reader::open(directory));
  image::PageIndex flat = flattened(reader->index());
  // It only informs: one that is lost stays so.
  Result<Bytes> manifest = sys::read_file(directory + "/" + kManifestFile);
  TRY(sys::write_all(fd, std::as_bytes(std::span(kMagic))));
  TRY(write_section(fd, manifest.value_or(Bytes())));
  TRY(write_section(fd, stream_of(*reader, flat)));
  return write_blocks(*reader, flat, fd);
}

Result<Import> Import::begin(int fd) {
  Import import(fd);
  std::array<char, kMagic.size()> magic;
  TRY(read_exactly(fd, std::as_writable_bytes(std::span(magic))));
  if (!std::equal(magic.begin(), magic.begin() + 14, kMagic.begin()))
    return damaged("this is no checkpoint that `stint export` has written");
  if (magic != kMagic) return unfit("it was written by a newer stint");
  Bytes manifest = TRY(read_section(fd));
  import.manifest_ = parse_manifest(text_of(manifest)).value_or(Manifest());
  import.records_ = TRY(read_section(fd));
  std::vector<image::Record> records = TRY(image::decode_stream(import.records_));
  for (const image::Record& record : records) {
    if (record.type == image::RecordType::kJob) import.job_ = TRY(image::decode<image::JobRecord>(record.payload));
    if (record.type == image::RecordType::kPageIndex) import.index_ = TRY(image::decode_index(record.payload));
  }
  if (import.job_.arguments.empty()) return damaged("it says of no job");
  if (!import.index_.leans_on.empty()) return damaged("it leans on other checkpoints");
  return import;
}

Result<> Import::read_pages(int to) {
  for (uint64_t left = index_.pages_size; left > 0;) {
    std::span<std::byte> part = std::span(piece()).first(std::min<uint64_t>(kPiece, left));
    TRY(read_exactly(fd_, part));
    TRY(sys::write_all(to, part));
    left -= part.size();
  }
  return {};
}

Result<uint64_t> Import::finish(const std::string& checkpoints) {
  PartialCheckpoint directory = TRY(PartialCheckpoint::create(checkpoints));
  TRY(read_pages(directory.pages()));
  manifest_.number = directory.number();
  manifest_.stored_bytes = records_.size() + index_.pages_size;
  manifest_.leans_on.clear();
  TRY(directory.write(records_, manifest_));
  TRY(verify(directory.partial_path()));
  TRY(directory.publish(true));
  return directory.number();
}

}  // namespace stint::store
