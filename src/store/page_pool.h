// The memory in which page data waits until it is written: buffers of kPageBufferSize in huge pages, handed out and
// taken back. What was given back last is handed out first, since it is still in the processor's cache. Only when all
// that may be used is handed out does anybody wait.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "image/record.h"
#include "sys/fd.h"

namespace stint::store {

class PagePool : public std::enable_shared_from_this<PagePool> {
 public:
  // `budget`: bytes that may be handed out at a time; at least a few buffers.
  static std::shared_ptr<PagePool> create(uint64_t budget);

  // A buffer, which comes back by being destroyed. Waits while the budget is used up.
  Result<std::unique_ptr<image::PageBuffer>> take();

  // Whether take() would wait.
  bool exhausted();

  // Has the first buffers at hand: the kernel clears a huge page for them, which it had better not do while a program
  // stands still.
  Result<> warm();

 private:
  friend class PooledBuffer;
  explicit PagePool(uint64_t budget);
  void give_back(std::byte* buffer);
  Result<> grow();  // with mutex_ held

  const size_t most_;  // buffers
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::vector<sys::Mapping> regions_;
  std::vector<std::byte*> free_;
  size_t taken_ = 0;
};

// Half of the memory that the kernel says is available, to the machine and to the control groups that we are in (a
// batch system's limit is often far below the machine's memory, and who passes it is killed).
uint64_t default_page_budget();

// What the control group (of version 2) that /proc/self/cgroup names, and those above it, still leave. The page cache
// counts as used there, though the kernel would give it back: this errs on the side of less. Without a limit: 2^64 - 1.
uint64_t left_in_control_groups(std::string_view membership, const std::string& mount);

}  // namespace stint::store
