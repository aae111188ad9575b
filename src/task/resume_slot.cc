#include "task/resume_slot.h"

#include <algorithm>
#include <vector>

#include "tracee/memory.h"

namespace stint::task {
namespace {

// What a signal frame takes at most: the redzone, the extended state of the largest processors, and the frame itself.
constexpr uint64_t kLargestFrame = 32 << 10;

// The instructions in which a handler may find the thread: from the one that makes the call.
Range code_of(Range area) {
  uint64_t runner = area.start + tracee::kAreaRunnerOffset;
  uint64_t call = runner + (abi::stint_runner_resume_call - abi::stint_runner_start) - 2;
  return {call, runner + (abi::stint_runner_end - abi::stint_runner_start)};
}

// In a signal frame the saved rsp is followed by the saved rip.
bool shows_frame(const std::vector<uint64_t>& words, Range code, uint64_t stack) {
  for (size_t i = 0; i + 1 < words.size(); ++i)
    if (words[i] == stack && code.contains(words[i + 1])) return true;
  return false;
}

// Downwards, page by page: the stack may begin there.
bool frame_lies_in(Pid process, Range memory, Range code, uint64_t stack) {
  std::vector<uint64_t> words;
  for (uint64_t end = memory.end & ~uint64_t{7}; end > memory.start;) {
    uint64_t start = std::max(page_down(end - 1), memory.start);
    std::vector<uint64_t> page((end - start) / sizeof(uint64_t));
    size_t size = page.size() * sizeof(uint64_t);
    Result<size_t> got = sys::read_memory(process, start, page.data(), size);
    if (!got.has_value() || *got != size) break;
    words.insert(words.begin(), page.begin(), page.end());
    end = start;
  }
  return shows_frame(words, code, stack);
}

bool handler_returns_into(Pid process, const ResumeSlot& slot, Range code) {
  const tracee::Thread::AlternateStack& alternate = slot.alternate;
  if (!alternate.known) return true;
  uint64_t lowest = slot.stack - std::min(slot.stack, kLargestFrame);
  if (frame_lies_in(process, {lowest, slot.stack}, code, slot.stack)) return true;
  return alternate.size != 0 &&
         frame_lies_in(process, {alternate.start, alternate.start + alternate.size}, code, slot.stack);
}

}  // namespace

Result<bool> handler_returns_into(Pid process, Range area) {
  uint64_t first = area.start + tracee::kAreaDataOffset + tracee::Hands::kWorkSize;
  for (uint64_t at = first; at + tracee::Hands::kResumeSlotSize <= area.end; at += tracee::Hands::kResumeSlotSize) {
    ResumeSlot slot = TRY(tracee::peek(process, RemotePtr<ResumeSlot>(at)));
    if (slot.in_use != 0 && handler_returns_into(process, slot, code_of(area))) return true;
  }
  return false;
}

}  // namespace stint::task
