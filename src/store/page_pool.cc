#include "store/page_pool.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "sys/file.h"
#include "sys/memory.h"

namespace stint::store {

constexpr size_t kFewestBuffers = 4;
constexpr uint64_t kRegionSize = kHugePageSize;
constexpr uint64_t kFallbackBudget = 64 << 20;

namespace {

std::optional<uint64_t> number_after(std::string_view text, std::string_view field) {
  size_t at = text.find(field);
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at + field.size());
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  uint64_t number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc()) return std::nullopt;
  return number;
}

std::optional<uint64_t> number_in(const std::string& path) {
  Result<Bytes> text = sys::read_file(path);
  return text.has_value() ? number_after(text_of(*text), "") : std::nullopt;
}

}  // namespace

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

bool PagePool::exhausted() {
  std::lock_guard lock(mutex_);
  return taken_ >= most_;
}

Result<> PagePool::warm() {
  std::lock_guard lock(mutex_);
  if (!free_.empty()) return {};
  TRY(grow().in("memory for pages that wait to be written"));
  for (std::byte* buffer : free_)
    for (size_t at = 0; at < image::kPageBufferSize; at += kPageSize) buffer[at] = std::byte{0};
  return {};
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

uint64_t left_in_control_groups(std::string_view membership, const std::string& mount) {
  uint64_t left = ~uint64_t{0};
  constexpr std::string_view kVersion2 = "0::";
  size_t at = membership.find(kVersion2);
  if (at == std::string_view::npos) return left;
  at += kVersion2.size();
  for (std::string group(membership.substr(at, membership.find('\n', at) - at)); group.size() > 1;
       group.resize(group.rfind('/'))) {
    std::optional<uint64_t> most = number_in(mount + group + "/memory.max");
    std::optional<uint64_t> used = number_in(mount + group + "/memory.current");
    if (most && used) left = std::min(left, *most > *used ? *most - *used : 0);
  }
  return left;
}

uint64_t default_page_budget() {
  Result<Bytes> meminfo = sys::read_file("/proc/meminfo");
  std::optional<uint64_t> kib = meminfo.has_value() ? number_after(text_of(*meminfo), "MemAvailable:") : std::nullopt;
  if (!kib) return kFallbackBudget;
  Result<Bytes> groups = sys::read_file("/proc/self/cgroup");
  uint64_t left = groups.has_value() ? left_in_control_groups(text_of(*groups), "/sys/fs/cgroup") : ~uint64_t{0};
  return std::min(*kib * 1024, left) / 2;
}

}  // namespace stint::store
