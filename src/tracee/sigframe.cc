#include "tracee/sigframe.h"

#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <cstring>

#include "tracee/system_call.h"

namespace stint::tracee {
namespace {

// uc_flags (kernel: asm/ucontext.h, which does not go together with glibc's <ucontext.h>).
constexpr uint64_t kFpXstate = 1, kSigcontextSs = 2, kStrictRestoreSs = 4;

// The kernel's struct ucontext ends with the 8 bytes of the mask; glibc's ucontext_t is alike up to there.
constexpr size_t kUcontextSize = offsetof(ucontext_t, uc_sigmask) + sizeof(uint64_t);
static_assert(kUcontextSize == 304);

constexpr uint64_t kFpstateOffset = 320;  // 64-byte aligned behind the ucontext
static_assert(kFpstateOffset >= kUcontextSize && kFpstateOffset % 64 == 0);

// struct _fpx_sw_bytes: what the kernel looks for in bytes 464..511 of an xsave area in a signal frame.
struct SoftwareBytes {
  uint32_t magic1 = 0x46505853;
  uint32_t extended_size = 0;
  uint64_t xfeatures = 0;
  uint32_t xstate_size = 0;
  uint32_t padding[7] = {};
};
static_assert(sizeof(SoftwareBytes) == 48);
constexpr uint32_t kMagic2 = 0x46505845;  // right behind the area

// What the kernel does to the registers of an interrupted call when no signal handler runs.
void apply_restart(sys::Registers& registers) {
  if (!in_system_call(registers)) return;
  int64_t result = static_cast<int64_t>(registers.rax);
  if (result == kRestartSys || result == kRestartNoIntr || result == kRestartNoHand) {
    registers.rax = registers.orig_rax;
    registers.rip -= 2;
  } else if (result == kRestartBlock) {
    registers.rax = SYS_restart_syscall;
    registers.rip -= 2;
  }
}

void fill_context(greg_t* to, const sys::Registers& from) {
  to[REG_R8] = from.r8, to[REG_R9] = from.r9, to[REG_R10] = from.r10, to[REG_R11] = from.r11;
  to[REG_R12] = from.r12, to[REG_R13] = from.r13, to[REG_R14] = from.r14, to[REG_R15] = from.r15;
  to[REG_RDI] = from.rdi, to[REG_RSI] = from.rsi, to[REG_RBP] = from.rbp, to[REG_RBX] = from.rbx;
  to[REG_RDX] = from.rdx, to[REG_RAX] = from.rax, to[REG_RCX] = from.rcx, to[REG_RSP] = from.rsp;
  to[REG_RIP] = from.rip, to[REG_EFL] = from.eflags;
  to[REG_CSGSFS] = static_cast<greg_t>((from.cs & 0xffff) | (from.ss & 0xffff) << 48);
}

}  // namespace

Bytes build_sigframe(uint64_t address, const sys::Registers& stopped, uint64_t signal_mask, ByteView xstate) {
  constexpr uint64_t kFxSoftware = 464;
  sys::Registers registers = stopped;
  apply_restart(registers);
  Bytes bytes(kFpstateOffset + xstate.size() + sizeof(kMagic2));

  ucontext_t context{};
  context.uc_flags = kFpXstate | kSigcontextSs | kStrictRestoreSs;
  context.uc_stack.ss_flags = ~0;  // Invalid on purpose: the alternate stack stays as it is.
  fill_context(context.uc_mcontext.gregs, registers);
  context.uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(address + kFpstateOffset);
  std::memcpy(&context.uc_sigmask, &signal_mask, sizeof(signal_mask));
  std::memcpy(bytes.data(), &context, kUcontextSize);

  std::byte* fpstate = bytes.data() + kFpstateOffset;
  std::memcpy(fpstate, xstate.data(), xstate.size());
  SoftwareBytes software;
  software.extended_size = static_cast<uint32_t>(xstate.size()) + sizeof(kMagic2);
  std::memcpy(&software.xfeatures, xstate.data() + kFxSoftware,
              sizeof(software.xfeatures));  // the regset keeps xcr0 here
  software.xstate_size = static_cast<uint32_t>(xstate.size());
  std::memcpy(fpstate + kFxSoftware, &software, sizeof(software));
  std::memcpy(fpstate + xstate.size(), &kMagic2, sizeof(kMagic2));
  return bytes;
}

}  // namespace stint::tracee
