// One system call in the target without an area: its registers are pointed at a `syscall` instruction that it has
// anyway.
#include <fmt/format.h>
#include <linux/ptrace.h>
#include <signal.h>

#include <cstdio>
#include <memory>
#include <string_view>

#include "sys/call.h"
#include "tracee/hands.h"

namespace stint::tracee {
namespace {

constexpr int kSystemCallStop = SIGTRAP | 0x80;

struct CloseFile {
  void operator()(FILE* file) const { ::fclose(file); }
};

// The executable mappings of the target that may hold the instruction, the vDSO first.
Result<std::vector<Range>> executable_ranges(Pid process) {
  std::string path = fmt::format("/proc/{}/maps", process.number);
  std::unique_ptr<FILE, CloseFile> maps(::fopen(path.c_str(), "re"));
  if (!maps) return os_error(path);
  std::vector<Range> ranges;
  char line[4352];
  while (::fgets(line, sizeof(line), maps.get()) != nullptr) {
    unsigned long start = 0, end = 0;
    char permissions[5] = {};
    if (::sscanf(line, "%lx-%lx %4s", &start, &end, permissions) != 3 || permissions[2] != 'x') continue;
    std::string_view text = line;
    if (text.find("[vsyscall]") != text.npos) continue;
    bool vdso = text.find("[vdso]") != text.npos;
    ranges.insert(vdso ? ranges.begin() : ranges.end(), Range{start, end});
  }
  return ranges;
}

Result<uint64_t> find_system_call_instruction(Pid process) {
  constexpr std::string_view kInstruction("\x0f\x05", 2);
  for (Range range : TRY(executable_ranges(process))) {
    std::string text(std::min<uint64_t>(range.size(), 4 << 20), '\0');
    Result<size_t> got = sys::read_memory(process, range.start, text.data(), text.size());
    if (!got.has_value()) continue;
    text.resize(*got);
    size_t at = text.find(kInstruction);
    if (at != text.npos) return range.start + at;
  }
  return refused("it has no system call instruction in its memory");
}

Result<> step(Thread& thread) {
  std::optional<sys::WaitStatus> status = TRY(sys::wait_thread(thread.tid, true));
  if (!status.has_value() || status->exited()) return failed(fmt::format("thread {} has ended", thread.tid.number));
  return {};
}

// To the next stop at the edge of a system call.
Result<> to_system_call_stop(Thread& thread) {
  while (true) {
    TRY(sys::ptrace_to_system_call(thread.tid));
    std::optional<sys::WaitStatus> status = TRY(sys::wait_thread(thread.tid, true));
    if (!status.has_value() || status->exited()) return failed(fmt::format("thread {} has ended", thread.tid.number));
    if (status->event() == 0 && status->signal() == kSystemCallStop) return {};
  }
}

}  // namespace

Result<int64_t> inject_call(StoppedProcess& process, Thread& thread, const Call& call) {
  sys::Registers registers = thread.registers;
  registers.rip = TRY(find_system_call_instruction(process.pid()));
  registers.rax = call.nr;
  registers.rdi = call.args[0], registers.rsi = call.args[1], registers.rdx = call.args[2];
  registers.r10 = call.args[3], registers.r8 = call.args[4], registers.r9 = call.args[5];
  registers.orig_rax = ~uint64_t{0};
  fault::InjectedCall lost_with_us;
  TRY(sys::set_signal_mask(thread.tid, ~uint64_t{0}));
  TRY(sys::set_registers(thread.tid, registers));
  TRY(to_system_call_stop(thread));
  TRY(to_system_call_stop(thread));
  registers = TRY(sys::get_registers(thread.tid));
  // Out of the system call's exit, into a stop from which the kernel applies its restart rules to the registers that
  // thaw() puts back.
  TRY(sys::ptrace_interrupt(thread.tid));
  TRY(sys::ptrace_continue(thread.tid));
  TRY(step(thread));
  TRY(sys::set_registers(thread.tid, thread.registers));
  return static_cast<int64_t>(registers.rax);
}

}  // namespace stint::tracee
