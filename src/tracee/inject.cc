#include "tracee/inject.h"

#include <fmt/format.h>
#include <linux/ptrace.h>
#include <signal.h>

#include <algorithm>
#include <string_view>

#include "sys/procfs.h"
#include "tracee/memory.h"
#include "tracee/sigframe.h"

namespace stint::tracee {
namespace {

constexpr int kSystemCallStop = SIGTRAP | 0x80;
constexpr uint64_t kRedZone = 128;

constexpr std::string_view kSystemCall("\x0f\x05", 2);
constexpr std::string_view kSystemCallAndReturn("\x0f\x05\xc3", 3);
// mov $15, %rax; syscall, as the C libraries and Go have it; and in the shorter encoding.
constexpr std::string_view kSigreturns[] = {{"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", 9},
                                            {"\xb8\x0f\x00\x00\x00\x0f\x05", 7}};
constexpr size_t kLongestPattern = 9;

// What was found so far.
struct Found {
  uint64_t system_call = 0, returning = 0, sigreturn = 0;
  bool all() const { return returning != 0 && sigreturn != 0; }
};

void look_for(std::string_view pattern, std::string_view text, uint64_t start, uint64_t& found) {
  size_t at = found != 0 ? text.npos : text.find(pattern);
  if (at != text.npos) found = start + at;
}

void search(Pid process, Range range, Found& found) {
  constexpr uint64_t kPiece = 256 << 10;
  for (uint64_t at = range.start; at < range.end && !found.all(); at += kPiece) {
    std::string text(std::min(kPiece + kLongestPattern - 1, range.end - at), '\0');
    Result<size_t> got = sys::read_memory(process, at, text.data(), text.size());
    if (!got.has_value()) return;
    text.resize(*got);
    look_for(kSystemCall, text, at, found.system_call);
    look_for(kSystemCallAndReturn, text, at, found.returning);
    for (std::string_view pattern : kSigreturns) look_for(pattern, text, at, found.sigreturn);
  }
}

Result<> step(Thread& thread) {
  std::optional<sys::WaitStatus> status = TRY(sys::wait_thread(thread.tid, true));
  if (!status.has_value() || status->exited()) return failed(fmt::format("thread {} has ended", thread.tid.number));
  return {};
}

// The address of what calls rt_sigreturn(2), and the frame for it, below a thread's stack pointer.
class WayBack {
 public:
  static Result<std::optional<WayBack>> lay(Pid process, const Thread& thread, const Foothold& foothold) {
    constexpr uint64_t kAlignment = 64;
    Bytes xstate = TRY(sys::get_xstate(thread.tid));
    uint64_t size = build_sigframe(0, thread.registers, thread.signal_mask, xstate).size();
    WayBack way;
    uint64_t frame = (thread.registers.rsp - kRedZone - size) & ~(kAlignment - 1);
    way.start_ = frame - sizeof(uint64_t);
    Bytes bytes(reinterpret_cast<const std::byte*>(&foothold.sigreturn),
                reinterpret_cast<const std::byte*>(&foothold.sigreturn + 1));
    std::ranges::copy(build_sigframe(frame, thread.registers, thread.signal_mask, xstate), std::back_inserter(bytes));
    way.before_.resize(bytes.size());
    Result<size_t> got = sys::read_memory(process, way.start_, way.before_.data(), way.before_.size());
    if (!got.has_value() || *got != bytes.size()) return std::optional<WayBack>();
    if (!poke(process, way.start_, bytes.data(), bytes.size()).has_value()) return std::optional<WayBack>();
    return std::optional(std::move(way));
  }

  uint64_t stack_pointer() const { return start_; }
  Result<> remove(Pid process) const { return poke(process, start_, before_.data(), before_.size()); }

 private:
  uint64_t start_ = 0;
  Bytes before_;
};

// One whose stack pointer is in the stack that exec made: what is below it there is nobody's. On stacks that a program
// has made itself that is most likely so.
Thread& choose_thread(StoppedProcess& process, const Foothold& foothold) {
  constexpr uint64_t kRoom = 16 << 10;
  for (Thread& thread : process.threads()) {
    uint64_t stack = thread.registers.rsp;
    if (foothold.stack.contains(stack) && stack - foothold.stack.start > kRoom) return thread;
  }
  return process.representative();
}

}  // namespace

Result<Foothold> find_foothold(Pid process, std::span<const proc::Vma> vmas) {
  Found found;
  Foothold foothold;
  // From above: the vDSO, the linker and the C library, before what is large.
  for (size_t i = vmas.size(); i-- > 0;) {
    const proc::Vma& vma = vmas[i];
    if (vma.name == proc::VmaName::kStack) foothold.stack = vma.range;
    if (vma.exec && vma.name != proc::VmaName::kVsyscall && !found.all()) search(process, vma.range, found);
  }
  foothold.system_call = found.all() ? found.returning : found.system_call;
  foothold.sigreturn = found.all() ? found.sigreturn : 0;
  if (foothold.system_call == 0) return refused("it has no system call instruction in its memory");
  return foothold;
}

Result<Foothold> find_bare_foothold(Pid process) {
  Found found;
  std::string text = TRY(sys::read_proc(process, "maps"));
  for (const proc::Vma& vma : TRY(proc::parse_maps(text)))
    if (vma.name == proc::VmaName::kVdso) search(process, vma.range, found);
  if (found.system_call == 0) return refused("its vDSO has no system call instruction");
  Foothold foothold;
  foothold.system_call = found.system_call;
  return foothold;
}

Result<> to_system_call_stop(Thread& thread) {
  while (true) {
    TRY(sys::ptrace_to_system_call(thread.tid));
    std::optional<sys::WaitStatus> status = TRY(sys::wait_thread(thread.tid, true));
    if (!status.has_value() || status->exited()) return failed(fmt::format("thread {} has ended", thread.tid.number));
    if (status->event() == 0 && status->signal() == kSystemCallStop) return {};
  }
}

Result<int64_t> inject_call(StoppedProcess& process, const Foothold& foothold, const Call& call) {
  Thread& thread = choose_thread(process, foothold);
  std::optional<WayBack> way_back;
  if (foothold.has_way_back()) way_back = TRY(WayBack::lay(process.seen_as(), thread, foothold));
  sys::Registers registers = thread.registers;
  registers.rip = foothold.system_call;
  registers.rax = call.nr;
  registers.rdi = call.args[0], registers.rsi = call.args[1], registers.rdx = call.args[2];
  registers.r10 = call.args[3], registers.r8 = call.args[4], registers.r9 = call.args[5];
  registers.orig_rax = ~uint64_t{0};
  if (way_back.has_value()) registers.rsp = way_back->stack_pointer();
  // The registers first, for with them the way back holds; and so they are put back last.
  TRY(sys::set_registers(thread.tid, registers));
  TRY(sys::set_signal_mask(thread.tid, ~uint64_t{0}));
  TRY(to_system_call_stop(thread));
  TRY(to_system_call_stop(thread));
  registers = TRY(sys::get_registers(thread.tid));
  // Out of the system call's exit, into a stop from which the kernel applies its restart rules to the registers that
  // thaw() puts back.
  TRY(sys::ptrace_interrupt(thread.tid));
  TRY(sys::ptrace_continue(thread.tid));
  TRY(step(thread));
  TRY(give_back(thread));
  if (way_back.has_value()) TRY(way_back->remove(process.seen_as()));
  return static_cast<int64_t>(registers.rax);
}

}  // namespace stint::tracee
