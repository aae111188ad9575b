#include "store/page_pool.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "sys/file.h"
#include "sys/memory.h"

namespace stint::store {

constexpr size_t kFewestBuffers = 4;
constexpr uint64_t kRegionSize = kHugePageSize;
constexpr uint64_t kFallbackBudget = 64 << 20;

class PooledBuffer final : public image::PageBuffer {
 public:
  PooledBuffer(std::shared_ptr<PagePool> pool, std::byte* start) : pool_(std::move(pool)), start_(start) {}
  ~PooledBuffer() override { pool_->give_back(start_); }
  std::byte* data() override { return start_; }
  size_t size() const override { return image::kPageBufferSize; }

 private:
  std::shared_ptr<PagePool> pool_;
  std::byte* start_;
};

std::shared_ptr<PagePool> PagePool::create(uint64_t budget) { return std::shared_ptr<PagePool>(new PagePool(budget)); }

PagePool::PagePool(uint64_t budget) : most_(std::max<size_t>(budget / image::kPageBufferSize, kFewestBuffers)) {}

Result<std::unique_ptr<image::PageBuffer>> PagePool::take() {
  std::unique_lock lock(mutex_);
  given_back_.wait(lock, [this] { return taken_ < most_; });
  if (free_.empty()) TRY(grow().in("memory for pages that wait to be written"));
  std::byte* buffer = free_.back();
  free_.pop_back();
  ++taken_;
  return std::make_unique<PooledBuffer>(shared_from_this(), buffer);
}

void PagePool::give_back(std::byte* buffer) {
  std::lock_guard lock(mutex_);
  free_.push_back(buffer);
  --taken_;
  given_back_.notify_one();
}

Result<> PagePool::grow() {
  sys::Mapping region = TRY(sys::map_huge(kRegionSize));
  for (size_t at = region.size(); at >= image::kPageBufferSize; at -= image::kPageBufferSize)
    free_.push_back(region.data() + at - image::kPageBufferSize);
  regions_.push_back(std::move(region));
  return {};
}

uint64_t default_page_budget() {
  Result<Bytes> meminfo = sys::read_file("/proc/meminfo");
  if (!meminfo.has_value()) return kFallbackBudget;
  constexpr std::string_view kField = "MemAvailable:";
  std::string_view text = text_of(*meminfo);
  size_t at = text.find(kField);
  if (at == std::string_view::npos) return kFallbackBudget;
  text.remove_prefix(at + kField.size());
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  uint64_t kib = 0;
  std::from_chars(text.data(), text.data() + text.size(), kib);
  return kib * 1024 / 2;
}

}  // namespace stint::store
