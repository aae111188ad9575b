#include "sys/ptrace.h"

#include <sys/ptrace.h>  // Before <linux/ptrace.h>, which makes macros of its names.

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/call.h"

namespace stint::sys {
namespace {

constexpr size_t kMaxXstate = 32768;  // AMX takes 8 KiB of tiles; nothing known is larger.

Result<long> trace(const char* name, long request, Pid thread, uint64_t address, uint64_t data) {
  return call(name, [&] { return syscall(SYS_ptrace, request, thread.number, address, data); });
}

uint64_t pointer(const void* p) { return reinterpret_cast<uint64_t>(p); }

Result<> done(Result<long> result) {
  if (!result.has_value()) return std::move(result).error();
  return {};
}

}  // namespace

bool WaitStatus::exited() const { return WIFEXITED(raw) || WIFSIGNALED(raw); }
bool WaitStatus::stopped() const { return WIFSTOPPED(raw); }
int WaitStatus::signal() const { return WSTOPSIG(raw); }
int WaitStatus::event() const { return (raw >> 16) & 0xff; }

Result<> ptrace_seize(Pid thread, long options) {
  return done(trace("PTRACE_SEIZE", PTRACE_SEIZE, thread, 0, options));
}
Result<> ptrace_set_options(Pid thread, long options) {
  return done(trace("PTRACE_SETOPTIONS", PTRACE_SETOPTIONS, thread, 0, options));
}
Result<> ptrace_interrupt(Pid thread) { return done(trace("PTRACE_INTERRUPT", PTRACE_INTERRUPT, thread, 0, 0)); }
Result<> ptrace_continue(Pid thread, int signal) { return done(trace("PTRACE_CONT", PTRACE_CONT, thread, 0, signal)); }
Result<> ptrace_to_system_call(Pid thread, int signal) {
  return done(trace("PTRACE_SYSCALL", PTRACE_SYSCALL, thread, 0, signal));
}
Result<> ptrace_detach(Pid thread, int signal) {
  return done(trace("PTRACE_DETACH", PTRACE_DETACH, thread, 0, signal));
}

Result<Registers> get_registers(Pid thread) {
  Registers registers;
  iovec area{&registers, sizeof(registers)};
  TRY(trace("PTRACE_GETREGSET NT_PRSTATUS", PTRACE_GETREGSET, thread, NT_PRSTATUS, pointer(&area)));
  return registers;
}

Result<> set_registers(Pid thread, const Registers& registers) {
  iovec area{const_cast<Registers*>(&registers), sizeof(registers)};
  return done(trace("PTRACE_SETREGSET NT_PRSTATUS", PTRACE_SETREGSET, thread, NT_PRSTATUS, pointer(&area)));
}

Result<Bytes> get_xstate(Pid thread) {
  Bytes xstate(kMaxXstate);
  iovec area{xstate.data(), xstate.size()};
  TRY(trace("PTRACE_GETREGSET NT_X86_XSTATE", PTRACE_GETREGSET, thread, NT_X86_XSTATE, pointer(&area)));
  xstate.resize(area.iov_len);
  return xstate;
}

Result<> set_xstate(Pid thread, ByteView xstate) {
  iovec area{const_cast<std::byte*>(xstate.data()), xstate.size()};
  return done(trace("PTRACE_SETREGSET NT_X86_XSTATE", PTRACE_SETREGSET, thread, NT_X86_XSTATE, pointer(&area)));
}

Result<uint64_t> get_signal_mask(Pid thread) {
  uint64_t mask = 0;
  TRY(trace("PTRACE_GETSIGMASK", PTRACE_GETSIGMASK, thread, sizeof(mask), pointer(&mask)));
  return mask;
}

Result<> set_signal_mask(Pid thread, uint64_t mask) {
  return done(trace("PTRACE_SETSIGMASK", PTRACE_SETSIGMASK, thread, sizeof(mask), pointer(&mask)));
}

Result<uint64_t> get_event_message(Pid thread) {
  unsigned long message = 0;
  TRY(trace("PTRACE_GETEVENTMSG", PTRACE_GETEVENTMSG, thread, 0, pointer(&message)));
  return uint64_t{message};
}

Result<siginfo_t> get_siginfo(Pid thread) {
  siginfo_t info;
  TRY(trace("PTRACE_GETSIGINFO", PTRACE_GETSIGINFO, thread, 0, pointer(&info)));
  return info;
}

Result<std::vector<siginfo_t>> peek_signals(Pid thread, bool shared) {
  std::vector<siginfo_t> all;
  while (true) {
    siginfo_t batch[16];
    ptrace_peeksiginfo_args which{};
    which.off = all.size();
    which.flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0;
    which.nr = 16;
    long count = TRY(trace("PTRACE_PEEKSIGINFO", PTRACE_PEEKSIGINFO, thread, pointer(&which), pointer(batch)));
    all.insert(all.end(), batch, batch + count);
    if (count < 16) return all;
  }
}

Result<RseqConfiguration> get_rseq(Pid thread) {
  constexpr long kGetRseqConfiguration = 0x420f;  // since Linux 5.13; struct ptrace_rseq_configuration
  struct {
    uint64_t address;
    uint32_t size, signature, flags, pad;
  } raw{};
  Result<long> got = trace("PTRACE_GET_RSEQ_CONFIGURATION", kGetRseqConfiguration, thread, sizeof(raw), pointer(&raw));
  if (!got.has_value()) {
    if (got.error().os_errno() == EIO || got.error().os_errno() == EINVAL) return RseqConfiguration{};
    return std::move(got).error();
  }
  return RseqConfiguration{raw.address, raw.size, raw.signature};
}

Result<bool> at_system_call_stop(Pid thread) {
  siginfo_t info = {};
  Result<long> asked = trace("PTRACE_GETSIGINFO", PTRACE_GETSIGINFO, thread, 0, pointer(&info));
  if (!asked.has_value() && asked.error().os_errno() == EINVAL) return false;  // Stopped with its process.
  TRY(std::move(asked));
  return info.si_code == (SIGTRAP | 0x80);
}

bool dispatches_system_calls(Pid thread) {
  constexpr long kGetConfiguration = 0x4211;  // PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
  struct {
    uint64_t mode, selector, offset, size;
  } raw{};
  return trace("PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG", kGetConfiguration, thread, sizeof(raw), pointer(&raw))
             .has_value() &&
         raw.mode != 0;
}

Result<RobustList> get_robust_list(Pid thread) {
  RobustList list;
  TRY(call("get_robust_list", [&] { return syscall(SYS_get_robust_list, thread.number, &list.head, &list.size); }));
  return list;
}

Result<std::optional<WaitStatus>> wait_thread(Pid thread, bool block) {
  WaitStatus status;
  long got = TRY(call("waitpid", [&] { return waitpid(thread.number, &status.raw, __WALL | (block ? 0 : WNOHANG)); }));
  if (got == 0) return std::optional<WaitStatus>{};
  return std::optional<WaitStatus>(status);
}

Result<size_t> read_memory(Pid process, uint64_t address, void* to, size_t size) {
  iovec remote{reinterpret_cast<void*>(address), size};
  return read_memory_pieces(process, {&remote, 1}, to, size);
}

Result<size_t> write_memory(Pid process, uint64_t address, const void* from, size_t size) {
  iovec remote{reinterpret_cast<void*>(address), size};
  return write_memory_pieces(process, from, size, {&remote, 1});
}

Result<size_t> read_memory_pieces(Pid process, std::span<const iovec> remote, void* to, size_t size) {
  iovec local{to, size};
  return TRY(call("process_vm_readv",
                  [&] { return process_vm_readv(process.number, &local, 1, remote.data(), remote.size(), 0); }));
}

Result<size_t> write_memory_pieces(Pid process, const void* from, size_t size, std::span<const iovec> remote) {
  iovec local{const_cast<void*>(from), size};
  return TRY(call("process_vm_writev",
                  [&] { return process_vm_writev(process.number, &local, 1, remote.data(), remote.size(), 0); }));
}

Result<UniqueFd> open_memory(Pid process) {
  std::string path = fmt::format("/proc/{}/mem", process.number);
  return UniqueFd(TRY(call("open /proc/PID/mem", [&] { return ::open(path.c_str(), O_RDWR | O_CLOEXEC); })));
}

Result<> read_memory_file(int memory_fd, uint64_t address, void* to, size_t size) {
  for (size_t done = 0; done < size;) {
    long got = TRY(call("read /proc/PID/mem",
                        [&] { return pread(memory_fd, static_cast<char*>(to) + done, size - done, address + done); }));
    if (got == 0) return failed("read /proc/PID/mem: the process is gone");
    done += got;
  }
  return {};
}

Result<> write_memory_file(int memory_fd, uint64_t address, const void* from, size_t size) {
  for (size_t done = 0; done < size;) {
    long put = TRY(call("write /proc/PID/mem", [&] {
      return pwrite(memory_fd, static_cast<const char*>(from) + done, size - done, address + done);
    }));
    if (put == 0) return failed("write /proc/PID/mem: the process is gone");
    done += put;
  }
  return {};
}

Result<UniqueFd> pidfd_getfd(int pidfd, RemoteFd fd) {
  return UniqueFd(TRY(call("pidfd_getfd", [&] { return syscall(SYS_pidfd_getfd, pidfd, fd.number, 0); })));
}

}  // namespace stint::sys
