#include "store/writer.h"

#include <algorithm>
#include <set>
#include <thread>

#include "image/record_kinds.h"

namespace stint::store {
namespace {

// Pages of which the pool may take for itself, however much is available: more would only be cold memory.
uint64_t page_budget(const WriteOptions& options) {
  uint64_t available = default_page_budget();
  return options.memory == 0 ? available : std::min(options.memory, available);
}

unsigned page_threads(const WriteOptions& options) {
  return options.threads != 0 ? options.threads : std::max(2u, std::thread::hardware_concurrency());
}

// The newest checkpoint, where it is worth leaning on. One that is damaged, or leans on what is gone, is of no use.
std::shared_ptr<const BasePages> find_base(const PartialCheckpoint& directory) {
  if (directory.newest().empty()) return nullptr;
  Result<std::shared_ptr<const BasePages>> base = BasePages::open(directory.newest());
  return base.has_value() && (*base)->worth_leaning_on() ? *base : nullptr;
}

}  // namespace

Result<std::unique_ptr<Writer>> Writer::create(const std::string& checkpoints, const WriteOptions& options) {
  PartialCheckpoint directory = TRY(PartialCheckpoint::create(checkpoints).in("cannot begin a checkpoint"));
  std::shared_ptr<const BasePages> base = options.full ? nullptr : find_base(directory);
  std::unique_ptr<Writer> writer(new Writer(std::move(directory), options, std::move(base)));
  TRY(writer->pool_->warm().in("cannot begin a checkpoint"));
  return writer;
}

Writer::Writer(PartialCheckpoint directory, const WriteOptions& options, std::shared_ptr<const BasePages> base)
    : directory_(std::move(directory)),
      options_(options),
      pool_(PagePool::create(page_budget(options))),
      base_(std::move(base)) {
  PageWriter::Files files{directory_.pages(), directory_.hashes(), directory_.pages_path()};
  pages_ = std::make_unique<PageWriter>(files, options_.compression, page_threads(options_), base_);
}

Result<> Writer::put(image::Record record) {
  CHECK(!committed_);
  CHECK(image::find_kind(static_cast<uint32_t>(record.type)) != nullptr);
  records_.put(record);
  ++manifest_.records;
  return pages_->state();
}

Result<std::unique_ptr<image::PageBuffer>> Writer::page_buffer() {
  TRY(pages_->state());
  if (pool_->exhausted()) pages_->hold(false);
  return pool_->take();
}

Result<> Writer::put_pages(std::vector<image::PageRun> runs, std::unique_ptr<image::PageBuffer> buffer) {
  CHECK(!committed_);
  return pages_->put(std::move(runs), std::move(buffer));
}

Result<> Writer::settle(uint64_t space, std::vector<Range> pages, std::vector<Range> unchanged) {
  CHECK(!committed_ && !settled_.contains(space));
  CHECK(unchanged.empty() || base_ != nullptr);
  settled_[space] = std::move(pages);
  unchanged_[space] = std::move(unchanged);
  return {};
}

// Of the base, what was found the same and what was left alone, if nothing was put there since.
Result<image::PageIndex> Writer::make_index() {
  PageWriter::Written written = TRY(pages_->finish());
  if (base_ != nullptr)
    for (const image::StoredBlock& block : base_->blocks()) {
      auto unchanged = unchanged_.find(block.space);
      if (unchanged == unchanged_.end()) continue;
      image::StoredBlock left = block;
      left.runs = cut_runs(block.runs, unchanged->second);
      written.blocks.push_back({std::move(left), 0});
    }
  image::PageIndex index;
  index.pages_size = written.pages_size;
  index.blocks = TRY(latest(std::move(written.blocks), settled_));
  std::set<uint64_t> needed;
  for (const image::StoredBlock& block : index.blocks)
    if (block.checkpoint != 0) needed.insert(block.checkpoint);
  if (base_ != nullptr)
    for (const image::LeansOn& file : base_->files())
      if (needed.contains(file.checkpoint)) index.leans_on.push_back(file);
  return index;
}

Result<> Writer::commit() {
  CHECK(!committed_);
  image::PageIndex index = TRY(make_index());
  for (const image::StoredBlock& block : index.blocks) {
    manifest_.memory_bytes += block.live();
    if (block.storage == image::Storage::kZero) manifest_.zero_bytes += block.live();
  }
  for (const image::LeansOn& file : index.leans_on) manifest_.leans_on.push_back(file.checkpoint);
  TRY(put({.type = image::RecordType::kPageIndex, .payload = image::encode_index(index)}));
  records_.finish();
  Bytes records = records_.take();
  manifest_.number = directory_.number();
  manifest_.stored_bytes = records.size() + index.pages_size;
  committed_ = true;
  TRY(directory_.write(records, manifest_));
  return directory_.publish(options_.durable);
}

}  // namespace stint::store
