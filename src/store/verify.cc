#include "store/verify.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "image/record_kinds.h"
#include "store/reader.h"

namespace stint::store {
namespace {

Result<> verify_records(const Reader& reader) {
  for (const image::Record& record : reader.records()) {
    const image::RecordKind* kind = image::find_kind(static_cast<uint32_t>(record.type));
    CHECK(kind != nullptr);  // The stream's decoder leaves no others.
    TRY(kind->to_json(record.payload).in(reader.directory()));
  }
  return {};
}

uint64_t size_of(const image::StoredBlock& block) {
  uint64_t size = 0;
  for (const image::StoredRun& run : block.runs) size += run.size;
  return size;
}

// Gives the blocks of one reader to several threads.
class BlockCheck {
 public:
  BlockCheck(const Reader& reader, const std::function<void(uint64_t, uint64_t)>& progress)
      : reader_(reader), progress_(progress) {
    for (const image::StoredBlock& block : reader.index().blocks) total_ += size_of(block);
  }

  Result<uint64_t> run() {
    unsigned helpers = std::max(1u, std::thread::hardware_concurrency()) - 1;
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < helpers && i + 1 < reader_.index().blocks.size(); ++i)
      threads.emplace_back([this] { work(); });
    work();
    threads.clear();
    if (failure_) return *failure_;
    return total_;
  }

 private:
  void work() {
    for (;;) {
      uint64_t number = next_.fetch_add(1);
      if (number >= reader_.index().blocks.size()) return;
      Result<> checked = reader_.verify_block(number);
      std::lock_guard lock(mutex_);
      if (failure_) return;
      if (!checked.has_value()) {
        failure_ = std::move(checked).error();
        return;
      }
      done_ += size_of(reader_.index().blocks[number]);
      if (progress_) progress_(done_, total_);
    }
  }

  const Reader& reader_;
  const std::function<void(uint64_t, uint64_t)>& progress_;
  uint64_t total_ = 0;
  std::atomic<uint64_t> next_{0};
  std::mutex mutex_;  // guards what follows, and progress_
  uint64_t done_ = 0;
  std::optional<Error> failure_;
};

}  // namespace

Result<Verified> verify(const std::string& directory, const std::function<void(uint64_t, uint64_t)>& progress) {
  std::unique_ptr<Reader> reader = TRY(Reader::open(directory));
  TRY(verify_records(*reader));
  uint64_t bytes = TRY(BlockCheck(*reader, progress).run());
  return Verified{.records = reader->records().size(), .blocks = reader->index().blocks.size(), .bytes = bytes};
}

}  // namespace stint::store
