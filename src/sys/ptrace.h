// ptrace(2) and its neighbours: what one thread of ours may ask of a thread that it traces. Every call must come from
// the thread that attached. Linux only, x86-64 only.
#pragma once

#include <signal.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/remote.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

using Registers = user_regs_struct;

// What waitpid(2) told of a traced thread.
struct WaitStatus {
  int raw = 0;
  bool exited() const;  // it is gone: by exit or by a signal
  bool stopped() const;
  int signal() const;  // of a stop; SIGTRAP | 0x80 for a system call stop
  int event() const;   // PTRACE_EVENT_*, 0 for a signal-delivery stop
};

// Attaches without stopping (PTRACE_SEIZE), with these PTRACE_O_* options.
Result<> ptrace_seize(Pid thread, long options);
// Of a thread that is stopped: other PTRACE_O_* options than before.
Result<> ptrace_set_options(Pid thread, long options);
Result<> ptrace_interrupt(Pid thread);
// Lets it run on until its next stop, delivering `signal` (0: none).
Result<> ptrace_continue(Pid thread, int signal = 0);
// The same, but it stops at the next entry to or exit from a system call too.
Result<> ptrace_to_system_call(Pid thread, int signal = 0);
Result<> ptrace_detach(Pid thread, int signal = 0);

Result<Registers> get_registers(Pid thread);
Result<> set_registers(Pid thread, const Registers& registers);
// NT_X86_XSTATE: the xsave area, standard format, with its software-reserved bytes.
Result<Bytes> get_xstate(Pid thread);
Result<> set_xstate(Pid thread, ByteView xstate);
Result<uint64_t> get_signal_mask(Pid thread);
Result<> set_signal_mask(Pid thread, uint64_t mask);
Result<siginfo_t> get_siginfo(Pid thread);
// What goes with a PTRACE_EVENT_* stop: of a clone or fork, the number of the new task.
Result<uint64_t> get_event_message(Pid thread);
// The queued signals of the thread, or of its whole process, oldest first; none is taken.
Result<std::vector<siginfo_t>> peek_signals(Pid thread, bool shared);

struct RseqConfiguration {
  uint64_t address = 0;
  uint32_t size = 0;
  uint32_t signature = 0;
};
// Zeroes where no rseq area is registered, or the kernel is older than 5.13.
Result<RseqConfiguration> get_rseq(Pid thread);

// Whether it stands at the edge of a system call (PTRACE_SYSCALL). ESRCH: it is not stopped.
Result<bool> at_system_call_stop(Pid thread);

// Whether its system calls come back to it as signals (PR_SET_SYSCALL_USER_DISPATCH); no, where that cannot be asked:
// Linux before 6.4.
bool dispatches_system_calls(Pid thread);

struct RobustList {
  uint64_t head = 0;
  uint64_t size = 0;
};
Result<RobustList> get_robust_list(Pid thread);

// Waits for a traced thread, or for any child and any traced thread (-1). With `block` false: empty when there is
// nothing to tell yet.
Result<std::optional<WaitStatus>> wait_thread(Pid thread, bool block);

// Moves bytes between us and another process: as many as could be moved; fewer than asked for only at the first page
// that cannot be touched. A PROT_NONE page cannot be read this way: read_memory_file can.
Result<size_t> read_memory(Pid process, uint64_t address, void* to, size_t size);
Result<size_t> write_memory(Pid process, uint64_t address, const void* from, size_t size);
// Gathers scattered pieces into one buffer: as many whole and partial pieces as could be read.
Result<size_t> read_memory_pieces(Pid process, std::span<const iovec> remote, void* to, size_t size);
Result<size_t> write_memory_pieces(Pid process, const void* from, size_t size, std::span<const iovec> remote);

// /proc/PID/mem: slower, but it reads PROT_NONE pages and writes read-only private ones.
Result<UniqueFd> open_memory(Pid process);
Result<> read_memory_file(int memory_fd, uint64_t address, void* to, size_t size);
Result<> write_memory_file(int memory_fd, uint64_t address, const void* from, size_t size);

Result<UniqueFd> pidfd_getfd(int pidfd, RemoteFd fd);

}  // namespace stint::sys
