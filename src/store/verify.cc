#include "store/verify.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
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

// Which blocks are read: all, or as many of them as asked for, others each time; one at least.
std::vector<uint64_t> chosen(uint64_t blocks, double sample) {
  std::vector<uint64_t> all(blocks);
  std::iota(all.begin(), all.end(), uint64_t{0});
  if (sample >= 1) return all;
  size_t count = static_cast<size_t>(std::ceil(static_cast<double>(blocks) * sample));
  std::vector<uint64_t> some;
  std::ranges::sample(all, std::back_inserter(some), static_cast<ptrdiff_t>(count),
                      std::mt19937_64(std::random_device()()));
  return some;
}

// Gives blocks of one reader to several threads.
class BlockCheck {
 public:
  BlockCheck(const Reader& reader, std::vector<uint64_t> numbers,
             const std::function<void(uint64_t, uint64_t)>& progress)
      : reader_(reader), numbers_(std::move(numbers)), progress_(progress) {
    for (uint64_t number : numbers_) total_ += reader.index().blocks[number].live();
  }

  Result<uint64_t> run() {
    unsigned helpers = std::max(1u, std::thread::hardware_concurrency()) - 1;
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < helpers && i + 1 < numbers_.size(); ++i) threads.emplace_back([this] { work(); });
    work();
    threads.clear();
    if (failure_) return *failure_;
    return total_;
  }

 private:
  void work() {
    for (;;) {
      uint64_t next = next_.fetch_add(1);
      if (next >= numbers_.size()) return;
      uint64_t number = numbers_[next];
      Result<> checked = reader_.verify_block(number);
      std::lock_guard lock(mutex_);
      if (failure_) return;
      if (!checked.has_value()) {
        failure_ = std::move(checked).error();
        return;
      }
      done_ += reader_.index().blocks[number].live();
      if (progress_) progress_(done_, total_);
    }
  }

  const Reader& reader_;
  std::vector<uint64_t> numbers_;
  const std::function<void(uint64_t, uint64_t)>& progress_;
  uint64_t total_ = 0;
  std::atomic<uint64_t> next_{0};
  std::mutex mutex_;  // guards what follows, and progress_
  uint64_t done_ = 0;
  std::optional<Error> failure_;
};

}  // namespace

Result<Verified> verify(const std::string& directory, const VerifyOptions& options) {
  std::unique_ptr<Reader> reader = TRY(Reader::open(directory));
  TRY(verify_records(*reader));
  std::vector<uint64_t> numbers = chosen(reader->index().blocks.size(), options.sample);
  size_t blocks = numbers.size();
  uint64_t bytes = TRY(BlockCheck(*reader, std::move(numbers), options.progress).run());
  return Verified{.records = reader->records().size(), .blocks = blocks, .bytes = bytes};
}

}  // namespace stint::store
