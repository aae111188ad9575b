#include "mem/fill.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "sys/fd.h"
#include "sys/ptrace.h"

namespace stint::mem {
namespace {

// One worker's share: takes blocks until none is left.
class Worker {
 public:
  Worker(Pid process, const image::Source& source, const Placement& place,
         const std::function<bool(uint64_t)>& zero_matters)
      : process_(process), source_(source), place_(place), zero_matters_(zero_matters) {}

  Result<> fill(const image::Source::Block& block) {
    if (block.all_zero &&
        std::ranges::none_of(block.runs, [&](const image::PageRun& run) { return zero_matters_(run.offset); }))
      return {};
    uint64_t size = 0;
    for (const image::PageRun& run : block.runs) size += run.size;
    if (block.all_zero) return fill_zeroes(block);
    buffer_.resize(std::max<uint64_t>(size, buffer_.size()));
    TRY(source_.read(block, buffer_.data()));
    const std::byte* from = buffer_.data();
    for (const image::PageRun& run : block.runs) {
      TRY(write(run.offset, from, run.size));
      from += run.size;
    }
    return flush();
  }

 private:
  Result<> fill_zeroes(const image::Source::Block& block) {
    buffer_.assign(image::kPageBufferSize, std::byte{0});
    for (const image::PageRun& run : block.runs)
      for (uint64_t at = 0; at < run.size; at += image::kPageBufferSize) {
        TRY(write(run.offset + at, buffer_.data(), std::min<uint64_t>(image::kPageBufferSize, run.size - at)));
        TRY(flush());
      }
    return {};
  }

  // Queues a piece of the buffer; consecutive pieces of the buffer go out in one call.
  Result<> write(uint64_t offset, const std::byte* from, uint64_t size) {
    while (size > 0) {
      uint64_t contiguous = size;
      FillTarget target = TRY(place_(offset, &contiguous));
      contiguous = std::min(contiguous, size);
      if (target.through_file) {
        TRY(flush());
        if (!memory_file_.valid()) memory_file_ = TRY(sys::open_memory(process_));
        TRY(sys::write_memory_file(memory_file_.get(), target.address, from, contiguous));
      } else {
        if (pieces_.empty()) from_ = from;
        if (from_ + queued_ != from || pieces_.size() == 1024) {
          TRY(flush());
          from_ = from;
        }
        pieces_.push_back({reinterpret_cast<void*>(target.address), contiguous});
        queued_ += contiguous;
      }
      offset += contiguous, from += contiguous, size -= contiguous;
    }
    return {};
  }

  Result<> flush() {
    if (pieces_.empty()) return {};
    size_t put = TRY(sys::write_memory_pieces(process_, from_, queued_, pieces_));
    if (put != queued_)
      return failed(
          fmt::format("memory near {:#x} cannot be written", reinterpret_cast<uint64_t>(pieces_[0].iov_base)));
    pieces_.clear();
    queued_ = 0;
    return {};
  }

  Pid process_;
  const image::Source& source_;
  const Placement& place_;
  const std::function<bool(uint64_t)>& zero_matters_;
  Bytes buffer_;
  const std::byte* from_ = nullptr;
  uint64_t queued_ = 0;
  std::vector<iovec> pieces_;
  sys::UniqueFd memory_file_;
};

constexpr size_t kBlocksWorthAThread = 8;

}  // namespace

Result<> fill_space(Pid process, const image::Source& source, uint64_t space, const Placement& place,
                    const std::function<bool(uint64_t)>& zero_matters) {
  const std::vector<image::Source::Block>& blocks = source.blocks(space);
  std::atomic<size_t> next{0};
  std::mutex mutex;
  Result<> outcome;
  auto work = [&] {
    Worker worker(process, source, place, zero_matters);
    for (size_t i = next++; i < blocks.size(); i = next++) {
      Result<> filled = worker.fill(blocks[i]);
      if (filled.has_value()) continue;
      std::lock_guard lock(mutex);
      if (outcome.has_value()) outcome = std::move(filled);
      next = blocks.size();
    }
  };
  size_t threads =
      std::min<size_t>(std::max(1u, std::thread::hardware_concurrency()), 1 + blocks.size() / kBlocksWorthAThread);
  std::vector<std::jthread> others;
  for (size_t i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  others.clear();
  return outcome;
}

}  // namespace stint::mem
