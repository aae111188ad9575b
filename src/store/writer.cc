#include "store/writer.h"

#include <algorithm>
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

uint64_t size_of(const image::StoredBlock& block) {
  uint64_t size = 0;
  for (const image::StoredRun& run : block.runs) size += run.size;
  return size;
}

}  // namespace

Result<std::unique_ptr<Writer>> Writer::create(const std::string& checkpoints, const WriteOptions& options) {
  PartialCheckpoint directory = TRY(PartialCheckpoint::create(checkpoints).in("cannot begin a checkpoint"));
  std::unique_ptr<Writer> writer(new Writer(std::move(directory), options));
  TRY(writer->pool_->warm().in("cannot begin a checkpoint"));
  return writer;
}

Writer::Writer(PartialCheckpoint directory, const WriteOptions& options)
    : directory_(std::move(directory)), options_(options), pool_(PagePool::create(page_budget(options))) {
  pages_ = std::make_unique<PageWriter>(directory_.pages(), directory_.pages_path(), options_.compression,
                                        page_threads(options_));
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
  return pool_->take();
}

Result<> Writer::put_pages(std::vector<image::PageRun> runs, std::unique_ptr<image::PageBuffer> buffer) {
  CHECK(!committed_);
  return pages_->put(std::move(runs), std::move(buffer));
}

Result<> Writer::commit() {
  CHECK(!committed_);
  image::PageIndexRecord index = TRY(pages_->finish());
  for (const image::StoredBlock& block : index.blocks) {
    manifest_.memory_bytes += size_of(block);
    if (block.storage == image::Storage::kZero) manifest_.zero_bytes += size_of(block);
  }
  TRY(put({.type = image::RecordType::kPageIndex, .payload = image::encode(index)}));
  records_.finish();
  Bytes records = records_.take();
  manifest_.number = directory_.number();
  manifest_.stored_bytes = records.size() + index.pages_size;
  committed_ = true;
  return directory_.publish(records, manifest_, options_.durable);
}

}  // namespace stint::store
