#include "tracee/system_call.h"

#include <algorithm>
#include <cstring>

#include "tracee/memory.h"

namespace stint::tracee {
namespace {

bool at_system_call_instruction(Pid tid, uint64_t address) {
  constexpr uint16_t kInstruction = 0x050f;
  Result<uint16_t> there = peek(tid, RemotePtr<uint16_t>(address));
  return there.has_value() && *there == kInstruction;
}

}  // namespace

bool in_system_call(const sys::Registers& registers) { return static_cast<int64_t>(registers.orig_rax) >= 0; }

void see_call_to_be_made_again(Pid tid, sys::Registers& registers) {
  bool sleep = registers.rax == SYS_restart_syscall;
  if (!sleep && (!in_system_call(registers) || registers.rax != registers.orig_rax)) return;
  if (!at_system_call_instruction(tid, registers.rip)) return;
  if (!sleep) {
    // Where one call follows another, it may be the first that has returned this.
    if (!at_system_call_instruction(tid, registers.rip - 2)) registers.orig_rax = ~uint64_t{0};
    return;
  }
  registers.rip += 2;
  registers.rax = static_cast<uint64_t>(kRestartBlock);
  if (!in_system_call(registers)) registers.orig_rax = SYS_restart_syscall;
}

std::optional<uint64_t> restarted_call_in_code(Pid tid, uint64_t rip) {
  constexpr unsigned char kMovToEax = 0xb8;
  unsigned char code[48] = {};
  size_t got = sys::read_memory(tid, rip - 2 - sizeof(code), code, sizeof(code)).value_or(0);
  for (size_t at = got >= 5 ? got - 5 : 0; at > 0; --at) {
    uint32_t nr = 0;
    std::memcpy(&nr, code + at + 1, sizeof(nr));
    if (code[at] == kMovToEax && std::ranges::find(kRestartedCalls, nr) != std::end(kRestartedCalls)) return nr;
  }
  return std::nullopt;
}

std::optional<uint64_t> call_of(Pid tid, const sys::Registers& registers) {
  if (registers.orig_rax == SYS_restart_syscall)
    return restarted_call_in_code(tid, registers.rip).value_or(SYS_restart_syscall);
  if (in_system_call(registers)) return registers.orig_rax;
  if (at_system_call_instruction(tid, registers.rip)) return registers.rax;
  return std::nullopt;
}

}  // namespace stint::tracee
