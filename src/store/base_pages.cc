#include "store/base_pages.h"

#include <algorithm>

#include "store/checkpoint_dir.h"
#include "store/page_hashes.h"
#include "store/reader.h"

namespace stint::store {
namespace {

// What a restart costs more than that of a full checkpoint: a descriptor for each file, and reading what lies in a
// block with what is wanted.
constexpr uint64_t kMostFiles = 250;
constexpr uint64_t kWorthOfFull = 3;  // times the bytes that are wanted

}  // namespace

Result<std::shared_ptr<const BasePages>> BasePages::open(const std::string& directory) {
  std::unique_ptr<Reader> reader = TRY(Reader::open(directory));
  std::shared_ptr<BasePages> base(new BasePages());
  base->number_ = checkpoint_number(directory.substr(directory.rfind('/') + 1));
  if (base->number_ == 0) return failed(directory + " has no number, so that no other can lean on it");
  const image::PageIndex& index = reader->index();
  base->blocks_ = index.blocks;
  base->files_ = index.leans_on;
  if (index.pages_size > 0) base->files_.push_back({base->number_, index.pages_size});
  for (size_t i = 0; i < base->blocks_.size(); ++i) {
    image::StoredBlock& block = base->blocks_[i];
    if (block.storage == image::Storage::kZero) continue;
    if (block.checkpoint == 0) block.checkpoint = base->number_;
    for (const image::StoredRun& run : block.runs)
      base->spaces_[block.space].push_back({run.offset, run.end(), i, run.at});
  }
  for (auto& [space, pages] : base->spaces_) std::ranges::sort(pages, {}, &Page::offset);
  base->hashes_ = stored_hashes(directory, index);
  return std::shared_ptr<const BasePages>(std::move(base));
}

bool BasePages::worth_leaning_on() const {
  if (files_.size() >= kMostFiles) return false;
  uint64_t stored = 0, wanted = 0;
  for (const image::LeansOn& file : files_) stored += file.pages_size;
  for (const image::StoredBlock& block : blocks_)
    if (block.size > 0) wanted += block.stored_size * block.live() / block.size;
  return stored <= kWorthOfFull * wanted;
}

std::optional<BasePages::Place> BasePages::find(uint64_t space, uint64_t offset, const Hash128& hash) const {
  auto pages = spaces_.find(space);
  if (pages == spaces_.end()) return std::nullopt;
  auto after = std::ranges::upper_bound(pages->second, offset, {}, &Page::offset);
  if (after == pages->second.begin()) return std::nullopt;
  const Page& run = *std::prev(after);
  uint64_t at = run.at + (offset - run.offset);
  if (offset + kPageSize > run.end || at % kPageSize != 0) return std::nullopt;
  const std::vector<Hash128>& hashes = hashes_[run.block];
  if (hashes.empty() || hashes[at / kPageSize] != hash) return std::nullopt;
  return Place{run.block, at};
}

}  // namespace stint::store
