#include "store/page_hashes.h"

#include <fcntl.h>

#include <algorithm>
#include <map>

#include "store/checkpoint_dir.h"
#include "sys/file.h"

namespace stint::store {
namespace {

using image::StoredBlock;
using image::StoredRun;

// Calls f(offset, size, at) for each page of a run; `at` counts from `start`.
template <class F>
void each_page(const StoredRun& run, uint64_t start, F f) {
  for (uint64_t done = 0; done < run.size; done += kPageSize)
    f(run.offset + done, std::min<uint64_t>(kPageSize, run.size - done), start + done);
}

// The hashes of a block count its pages from its start: they serve where all of its runs do the same.
bool serves(const StoredBlock& block, const std::vector<Hash128>& hashes) {
  auto whole_pages = [&](const StoredRun& run) {
    return run.at % kPageSize == 0 && (run.size % kPageSize == 0 || run.at + run.size == block.size);
  };
  return !hashes.empty() && std::ranges::all_of(block.runs, whole_pages);
}

Hash128 hash_of_zeroes(uint64_t size) {
  static const Bytes zeroes(kPageSize);
  static const Hash128 whole = image::page_hashes(zeroes).front();
  return size == kPageSize ? whole : image::page_hashes(ByteView(zeroes).first(size)).front();
}

void add_zeroes(const StoredBlock& block, std::vector<SavedPage>& pages) {
  for (const StoredRun& run : block.runs)
    each_page(run, 0,
              [&](uint64_t offset, uint64_t size, uint64_t) { pages.push_back({offset, size, hash_of_zeroes(size)}); });
}

void add_known(const StoredBlock& block, const std::vector<Hash128>& hashes, std::vector<SavedPage>& pages) {
  for (const StoredRun& run : block.runs)
    each_page(run, run.at, [&](uint64_t offset, uint64_t size, uint64_t at) {
      pages.push_back({offset, size, hashes[at / kPageSize]});
    });
}

Result<> add_read(const Reader& reader, const image::Source::Block& block, std::vector<SavedPage>& pages) {
  const StoredBlock& stored = reader.index().blocks[block.number];
  Bytes bytes(stored.live());
  TRY(reader.read(block, bytes.data()));
  uint64_t start = 0;  // What is wanted of a block is read without what lies between.
  for (const StoredRun& run : stored.runs) {
    each_page(run, start, [&](uint64_t offset, uint64_t size, uint64_t at) {
      pages.push_back({offset, size, image::page_hashes(ByteView(bytes).subspan(at, size)).front()});
    });
    start += run.size;
  }
  return {};
}

}  // namespace

std::vector<std::vector<Hash128>> stored_hashes(const std::string& directory, const image::PageIndex& index) {
  std::vector<std::vector<Hash128>> all(index.blocks.size());
  std::string beside = directory.substr(0, directory.rfind('/'));
  std::map<uint64_t, sys::UniqueFd> files;  // by checkpoint; what cannot be opened is known not to be there
  for (size_t i = 0; i < index.blocks.size(); ++i) {
    const StoredBlock& block = index.blocks[i];
    if (block.storage == image::Storage::kZero) continue;
    auto [file, first] = files.try_emplace(block.checkpoint);
    if (first) {
      std::string its = block.checkpoint == 0 ? directory : directory_of_pages(beside, block.checkpoint);
      Result<sys::UniqueFd> opened = sys::open(its + "/" + kHashesFile, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      if (opened.has_value()) file->second = *std::move(opened);
    }
    if (file->second.get() < 0) continue;
    std::vector<Hash128> hashes((block.size + kPageSize - 1) / kPageSize);
    Result<> read = sys::pread_all(file->second.get(), std::as_writable_bytes(std::span(hashes)), block.hashes_at);
    if (read.has_value() && image::content_of(hashes) == block.content) all[i] = std::move(hashes);
  }
  return all;
}

Result<SavedPages> saved_pages(const Reader& reader) {
  std::vector<std::vector<Hash128>> hashes = stored_hashes(reader.directory(), reader.index());
  SavedPages all;
  for (size_t number = 0; number < hashes.size(); ++number) {
    const StoredBlock& block = reader.index().blocks[number];
    std::vector<SavedPage>& pages = all[block.space];
    if (block.storage == image::Storage::kZero)
      add_zeroes(block, pages);
    else if (serves(block, hashes[number]))
      add_known(block, hashes[number], pages);
    else
      TRY(add_read(reader, {.number = number, .runs = {}, .all_zero = false}, pages));
  }
  for (auto& [space, pages] : all) std::ranges::sort(pages, {}, &SavedPage::offset);
  return all;
}

}  // namespace stint::store
