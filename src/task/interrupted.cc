#include "task/interrupted.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "proc/fdinfo.h"
#include "sys/file.h"
#include "sys/procfs.h"
#include "sys/tasks.h"
#include "task/resume_slot.h"
#include "tracee/memory.h"
#include "tracee/system_call.h"

namespace stint::task {
namespace {

using image::ResumeCall;
using image::ResumeKind;
using tracee::kRestartBlock;
using tracee::kRestartNoHand;

constexpr int64_t kEintr = -4;
constexpr int64_t kNsPerMs = 1'000'000;

// A call that a stop makes return EINTR, and which of its arguments is its timeout.
struct EintrCall {
  uint64_t nr;
  uint8_t time_argument;  // 1..6; 0: no timeout
  bool milliseconds;
};
constexpr EintrCall kEintrCalls[] = {
    {SYS_epoll_wait, 4, true},
    {SYS_epoll_pwait, 4, true},
    {SYS_epoll_pwait2, 4, false},
    {SYS_rt_sigtimedwait, 3, false},
    {SYS_semop, 0, false},
    {SYS_semtimedop, 4, false},
    {SYS_io_getevents, 5, false},
    {SYS_io_pgetevents, 5, false},
    {SYS_io_uring_enter, 0, false},
    // With SO_RCVTIMEO or SO_SNDTIMEO. Their timeout is the socket's: made again, they wait for all of it.
    {SYS_read, 0, false},
    {SYS_readv, 0, false},
    {SYS_recvfrom, 0, false},
    {SYS_recvmsg, 0, false},
    {SYS_recvmmsg, 0, false},
    {SYS_accept, 0, false},
    {SYS_accept4, 0, false},
    {SYS_write, 0, false},
    {SYS_writev, 0, false},
    {SYS_sendto, 0, false},
    {SYS_sendmsg, 0, false},
    {SYS_sendmmsg, 0, false},
    {SYS_connect, 0, false},
};

// A relative sleep that the kernel keeps in a restart block.
struct SleepCall {
  uint64_t nr;
  uint8_t time_argument;
  uint8_t left_argument;  // where an interruption stores what is left; 0: nowhere
  bool milliseconds;
};
constexpr SleepCall kSleepCalls[] = {
    {SYS_nanosleep, 1, 2, false}, {SYS_clock_nanosleep, 3, 4, false}, {SYS_poll, 3, 0, true}, {SYS_futex, 4, 0, false}};
static_assert(std::ranges::equal(kSleepCalls, tracee::kRestartedCalls, {}, &SleepCall::nr));

std::array<uint64_t, 6> arguments(const sys::Registers& r) { return {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9}; }

Result<int64_t> timeout_ns(Pid process, uint64_t argument, bool milliseconds) {
  if (milliseconds) return static_cast<int32_t>(argument) < 0 ? -1 : static_cast<int32_t>(argument) * kNsPerMs;
  if (argument == 0) return -1;
  timespec value = TRY(tracee::peek(process, RemotePtr<timespec>(argument)));
  return value.tv_sec * 1'000'000'000LL + value.tv_nsec;
}

template <class Entry, size_t N>
const Entry* find_call(const Entry (&table)[N], uint64_t nr) {
  const Entry* found = std::ranges::find(table, nr, &Entry::nr);
  return found == std::end(table) ? nullptr : found;
}

// EINTR becomes "make it again unless a handler runs"; with a timeout, the runner makes it with the time that is left.
Result<ResumeCall> plan_eintr(Pid process, tracee::Thread& thread, const EintrCall& entry, Deadlines& deadlines) {
  thread.registers.rax = static_cast<uint64_t>(kRestartNoHand);
  ResumeCall resume;
  if (entry.time_argument == 0) return resume;
  std::array<uint64_t, 6> args = arguments(thread.registers);
  int64_t asked = TRY(timeout_ns(process, args[entry.time_argument - 1], entry.milliseconds));
  if (asked < 0) return resume;
  resume.kind = ResumeKind::kContinue;
  resume.nr = entry.nr;
  resume.args = args;
  resume.time_left_ns = deadlines.time_left(thread.tid, asked, false);
  resume.time_argument = entry.time_argument;
  resume.time_is_milliseconds = entry.milliseconds;
  return resume;
}

// The call before a restart_syscall(2): the last checkpoint knew it, or the code says it.
Result<uint64_t> restarted_call(Pid process, tracee::Thread& thread, const Deadlines& deadlines) {
  if (uint64_t known = deadlines.known_call(thread.tid)) return known;
  if (std::optional<uint64_t> nr = tracee::restarted_call_in_code(process, thread.registers.rip)) return *nr;
  return not_now(
      fmt::format("thread {}: it sleeps in a system call that was restarted before, and its code does not "
                  "tell which; try again",
                  thread.tid.number));
}

Result<ResumeCall> plan_sleep(Pid process, tracee::Thread& thread, Deadlines& deadlines) {
  uint64_t nr = thread.registers.orig_rax;
  bool restarted = nr == SYS_restart_syscall;
  if (restarted) nr = TRY(restarted_call(process, thread, deadlines));
  const SleepCall* entry = find_call(kSleepCalls, nr);
  if (entry == nullptr)
    return refused(fmt::format("thread {}: system call {} was interrupted with a restart block that is not known",
                               thread.tid.number, nr));
  ResumeCall resume;
  resume.kind = ResumeKind::kReissue;
  resume.nr = nr;
  resume.args = arguments(thread.registers);
  resume.time_argument = entry->time_argument;
  resume.time_is_milliseconds = entry->milliseconds;
  int64_t asked = TRY(timeout_ns(process, resume.args[entry->time_argument - 1], entry->milliseconds));
  int futex_command = static_cast<int>(resume.args[1]) & FUTEX_CMD_MASK;
  if (nr == SYS_futex && futex_command != FUTEX_WAIT) {
    resume.time_argument = 0;  // Absolute: the deadline stands in the program's own memory.
  } else if (asked >= 0) {
    resume.time_left_ns = deadlines.time_left(thread.tid, asked, restarted);
    // Where the program wants to know what is left, the stop has made the kernel say it.
    uint64_t told = entry->left_argument == 0 ? 0 : resume.args[entry->left_argument - 1];
    if (told != 0) resume.time_left_ns = std::min(asked, TRY(timeout_ns(process, told, false)));
  }
  return resume;
}

// Whether a short count can only mean that the stop cut the call off: the descriptor blocks, and is no file.
Result<bool> blocks_until_done(Pid process, int fd) {
  struct stat what = TRY(sys::stat(fmt::format("/proc/{}/fd/{}", process.number, fd)));
  if (!S_ISFIFO(what.st_mode) && !S_ISSOCK(what.st_mode) && !S_ISCHR(what.st_mode)) return false;
  std::string text = TRY(sys::read_proc(process, fmt::format("fdinfo/{}", fd)));
  proc::FdInfo info = TRY(proc::parse_fdinfo(text));
  return (info.flags & O_NONBLOCK) == 0;
}

bool takes_events(uint64_t nr) { return nr == SYS_io_getevents || nr == SYS_io_pgetevents; }

// The arguments of a call that has got so far: bytes, or events of io_getevents(2).
void advance(ResumeCall& resume, uint64_t done) {
  if (takes_events(resume.nr)) {
    resume.args[1] -= std::min(done, resume.args[1]);
    resume.args[2] -= done;
    resume.args[3] += done * sizeof(io_event);
  } else {
    resume.args[1] += done;
    resume.args[2] -= done;
  }
  resume.done += done;
}

ResumeCall continue_after(const sys::Registers& registers, uint64_t moved) {
  ResumeCall resume;
  resume.kind = ResumeKind::kContinue;
  resume.nr = registers.orig_rax;
  resume.args = arguments(registers);
  advance(resume, moved);
  return resume;
}

Result<ResumeCall> plan_short_count(Pid process, tracee::Thread& thread) {
  const sys::Registers& registers = thread.registers;
  uint64_t nr = registers.orig_rax, moved = registers.rax;
  bool sends = nr == SYS_write || (nr == SYS_sendto && (registers.r10 & MSG_DONTWAIT) == 0);
  bool gathers = nr == SYS_recvfrom && (registers.r10 & (MSG_WAITALL | MSG_DONTWAIT | MSG_PEEK)) == MSG_WAITALL;
  if ((sends || gathers) && moved > 0 && moved < registers.rdx &&
      TRY(blocks_until_done(process, static_cast<int>(registers.rdi))))
    return continue_after(registers, moved);
  return ResumeCall{};
}

// Fewer events than the least that io_getevents(2) was to wait for. When its time was over, there is none left now.
Result<ResumeCall> plan_few_events(Pid process, tracee::Thread& thread, Deadlines& deadlines) {
  const sys::Registers& registers = thread.registers;
  ResumeCall resume;
  if (!takes_events(registers.orig_rax) || static_cast<int64_t>(registers.rax) >= static_cast<int64_t>(registers.rsi))
    return resume;
  resume.nr = registers.orig_rax;
  resume.args = arguments(registers);
  int64_t asked = TRY(timeout_ns(process, resume.args[4], false));
  if (asked == 0) return resume;
  resume.kind = ResumeKind::kContinue;
  resume.time_argument = 5;
  if (asked > 0) resume.time_left_ns = deadlines.time_left(thread.tid, asked, false);
  advance(resume, registers.rax);
  return resume;
}

// What is left of a vector (address, length pairs) of which `moved` bytes are done.
std::vector<uint64_t> rest_of(const std::vector<iovec>& vector, uint64_t moved) {
  std::vector<uint64_t> rest;
  for (const iovec& piece : vector) {
    uint64_t skip = std::min<uint64_t>(moved, piece.iov_len);
    moved -= skip;
    if (skip == piece.iov_len) continue;
    rest.insert(rest.end(), {reinterpret_cast<uint64_t>(piece.iov_base) + skip, piece.iov_len - skip});
  }
  return rest;
}

Result<std::vector<iovec>> read_vector(Pid process, uint64_t at, uint64_t count) {
  std::vector<iovec> vector;
  for (uint64_t i = 0; i < std::min<uint64_t>(count, 1024); ++i)
    vector.push_back(TRY(tracee::peek(process, RemotePtr<iovec>(at + i * sizeof(iovec)))));
  return vector;
}

// A writev or sendmsg that the stop has cut off goes on with a vector of its own.
Result<ResumeCall> plan_cut_vector(Pid process, tracee::Thread& thread) {
  const sys::Registers& registers = thread.registers;
  uint64_t nr = registers.orig_rax, at = registers.rsi, count = registers.rdx;
  if (nr != SYS_writev && (nr != SYS_sendmsg || (registers.rdx & MSG_DONTWAIT) != 0)) return ResumeCall{};
  if (nr == SYS_sendmsg) {
    msghdr message = TRY(tracee::peek(process, RemotePtr<msghdr>(at)));
    at = reinterpret_cast<uint64_t>(message.msg_iov), count = message.msg_iovlen;
  }
  ResumeCall resume;
  resume.rest = rest_of(TRY(read_vector(process, at, count)), registers.rax);
  if (resume.rest.empty() || !TRY(blocks_until_done(process, static_cast<int>(registers.rdi)))) return ResumeCall{};
  if (resume.rest.size() / 2 > kMostPieces)
    return not_now(
        fmt::format("thread {}: it is in the middle of a write of more than {} pieces to fd {} that is full; "
                    "try again",
                    thread.tid.number, kMostPieces, registers.rdi));
  // What is left of a message on a stream has no address and no control data: a writev says the same.
  resume.kind = ResumeKind::kContinue;
  resume.nr = SYS_writev;
  resume.args = arguments(registers);
  resume.done = registers.rax;
  return resume;
}

}  // namespace

Result<ResumeCall> plan_resume(Pid process, tracee::Thread& thread, Deadlines& deadlines) {
  const sys::Registers& registers = thread.registers;
  if (!tracee::in_system_call(registers)) return ResumeCall{};
  int64_t result = static_cast<int64_t>(registers.rax);
  if (result == kEintr) {
    if (const EintrCall* entry = find_call(kEintrCalls, registers.orig_rax))
      return plan_eintr(process, thread, *entry, deadlines);
    return ResumeCall{};
  }
  if (result == kRestartBlock) return plan_sleep(process, thread, deadlines);
  if (result > 0) {
    if (takes_events(registers.orig_rax)) return plan_few_events(process, thread, deadlines);
    ResumeCall cut = TRY(plan_cut_vector(process, thread));
    return cut.kind == ResumeKind::kContinue ? cut : TRY(plan_short_count(process, thread));
  }
  return ResumeCall{};
}

namespace {

ResumeSlot slot_image(uint64_t slot, const tracee::Thread& thread, const ResumeCall& resume) {
  ResumeSlot image;
  const sys::Registers& r = thread.registers;
  image.frame.calls = slot + offsetof(ResumeSlot, call);
  image.frame.count = 1;
  image.frame.finish = STINT_FINISH_RESUME;
  image.frame.base = resume.done;
  image.frame.registers = {r.rbx, r.rbp, r.r12, r.r13, r.r14, r.r15,    r.rdi, r.rsi,
                           r.rdx, r.r10, r.r8,  r.r9,  r.rip, r.eflags, 0,     0};
  image.in_use = 1;
  image.stack = r.rsp;
  image.alternate = thread.alternate;
  image.call.nr = resume.nr;
  std::ranges::copy(resume.args, image.call.args);
  if (!resume.rest.empty()) {
    std::ranges::copy(resume.rest, image.rest.begin());
    image.call.args[1] = slot + offsetof(ResumeSlot, rest);
    image.call.args[2] = resume.rest.size() / 2;
  }
  if (resume.time_argument == 0 || resume.time_left_ns < 0) return image;
  uint64_t& argument = image.call.args[resume.time_argument - 1];
  if (resume.time_is_milliseconds) {
    argument = static_cast<uint64_t>((resume.time_left_ns + kNsPerMs - 1) / kNsPerMs);
  } else {
    image.time = {resume.time_left_ns / 1'000'000'000, resume.time_left_ns % 1'000'000'000};
    argument = slot + offsetof(ResumeSlot, time);
  }
  return image;
}

Result<> point_into_runner(tracee::StoppedProcess& process, tracee::Thread& thread, const ResumeCall& resume,
                           tracee::Hands& hands) {
  uint64_t slot = TRY(hands.resume_slot());
  ResumeSlot image = slot_image(slot, thread, resume);
  TRY(tracee::poke(process.seen_as(), RemotePtr<ResumeSlot>(slot), image));
  // As if the call had just been interrupted in there: the kernel makes it again, or ends it with EINTR if a handler is
  // to run, and no signal comes in between.
  sys::Registers& registers = thread.in_runner.emplace(thread.registers);
  registers.rip = hands.area().runner + (abi::stint_runner_resume_call - abi::stint_runner_start);
  registers.rbx = slot;
  registers.rax = static_cast<uint64_t>(kRestartNoHand);
  registers.orig_rax = image.call.nr;
  registers.rdi = image.call.args[0], registers.rsi = image.call.args[1], registers.rdx = image.call.args[2];
  registers.r10 = image.call.args[3], registers.r8 = image.call.args[4], registers.r9 = image.call.args[5];
  return {};
}

}  // namespace

Result<> prepare_thaw(tracee::StoppedProcess& process, tracee::Thread& thread, const ResumeCall& resume,
                      tracee::Hands& hands) {
  if (resume.kind == ResumeKind::kContinue) TRY(point_into_runner(process, thread, resume, hands));
  return {};
}

namespace {

// To the next stop that shows this signal; others are passed over.
Result<> to_stop(tracee::Thread& thread, int signal) {
  while (true) {
    TRY(sys::ptrace_to_system_call(thread.tid));
    std::optional<sys::WaitStatus> status = TRY(sys::wait_thread(thread.tid, true));
    if (!status.has_value() || status->exited()) return failed("the new process has ended");
    if (status->signal() == signal) return {};
  }
}

// Makes the call from the runner and interrupts it at once: the kernel then holds a restart block for the time that is
// left. What the call returned, or -ERESTART_RESTARTBLOCK.
Result<int64_t> reissue(tracee::StoppedProcess& process, tracee::Thread& thread, const ResumeCall& resume,
                        tracee::Hands& hands) {
  constexpr int kSystemCallStop = SIGTRAP | 0x80;
  uint64_t slot = TRY(hands.resume_slot());
  TRY(tracee::poke(process.seen_as(), RemotePtr<ResumeSlot>(slot), slot_image(slot, thread, resume)));
  sys::Registers registers = thread.registers;
  registers.rbx = slot;
  registers.rip = hands.area().runner;
  registers.orig_rax = ~uint64_t{0};
  TRY(sys::set_signal_mask(thread.tid, ~uint64_t{0}));
  TRY(sys::set_registers(thread.tid, registers));
  TRY(to_stop(thread, kSystemCallStop));
  TRY(sys::ptrace_interrupt(thread.tid));
  TRY(to_stop(thread, kSystemCallStop));
  registers = TRY(sys::get_registers(thread.tid));
  // Any stop takes back a pending interrupt: once more, to get to where the kernel applies its restart rules.
  TRY(sys::ptrace_interrupt(thread.tid));
  TRY(to_stop(thread, SIGTRAP));
  return static_cast<int64_t>(registers.rax);
}

}  // namespace

Result<> prepare_restored(tracee::StoppedProcess& process, tracee::Thread& thread, const ResumeCall& resume,
                          tracee::Hands& hands) {
  if (resume.kind == ResumeKind::kReissue) {
    int64_t result = TRY(reissue(process, thread, resume, hands));
    thread.registers.rax = static_cast<uint64_t>(result);
    thread.registers.orig_rax = resume.nr;
    return {};
  }
  return prepare_thaw(process, thread, resume, hands);
}

namespace {

sys::Registers program_registers(const sys::Registers& now, const abi::RunnerRegisters& kept) {
  sys::Registers program = now;
  program.rbx = kept.rbx, program.rbp = kept.rbp, program.r12 = kept.r12, program.r13 = kept.r13;
  program.r14 = kept.r14, program.r15 = kept.r15, program.rdi = kept.rdi, program.rsi = kept.rsi;
  program.rdx = kept.rdx, program.r10 = kept.r10, program.r8 = kept.r8, program.r9 = kept.r9;
  program.rip = kept.rip, program.rcx = kept.rip, program.r11 = kept.rflags, program.eflags = kept.rflags;
  return program;
}

// The last instructions of the runner neither wait nor call: the thread is let through them, and no handler is.
Result<> run_out_of_tail(tracee::Thread& thread, Range tail) {
  TRY(sys::set_signal_mask(thread.tid, ~uint64_t{0}));
  for (int attempt = 0; attempt < 10'000 && tail.contains(thread.registers.rip); ++attempt) {
    TRY(sys::ptrace_continue(thread.tid));
    TRY(sys::ptrace_interrupt(thread.tid));
    std::optional<sys::WaitStatus> status = TRY(sys::wait_thread(thread.tid, true));
    if (!status.has_value() || status->exited()) return failed("a thread has ended while it was stopped");
    thread.registers = TRY(sys::get_registers(thread.tid));
  }
  if (tail.contains(thread.registers.rip)) return failed("a thread does not get out of the table-runner");
  return {};
}

}  // namespace

bool is_in_runner(const tracee::Thread& thread, Range area) {
  uint64_t runner = area.start + tracee::kAreaRunnerOffset;
  return thread.registers.rip >= runner &&
         thread.registers.rip < runner + (abi::stint_runner_end - abi::stint_runner_start);
}

namespace {

// Of the timeout with which the runner has made the call.
void take_time_left(const tracee::Thread& thread, const ResumeSlot& slot, Deadlines& deadlines, ResumeCall& resume) {
  const EintrCall* entry = find_call(kEintrCalls, resume.nr);
  if (entry == nullptr || entry->time_argument == 0) return;
  uint64_t argument = resume.args[entry->time_argument - 1];
  if (!entry->milliseconds && argument == 0) return;
  resume.time_argument = entry->time_argument;
  resume.time_is_milliseconds = entry->milliseconds;
  int64_t left = entry->milliseconds ? static_cast<int64_t>(argument) * kNsPerMs
                                     : slot.time.tv_sec * 1'000'000'000LL + slot.time.tv_nsec;
  resume.time_left_ns = deadlines.time_left(thread.tid, left, true);
}

}  // namespace

Result<ResumeCall> leave_runner(Pid process, tracee::Thread& thread, Range area, Deadlines& deadlines) {
  uint64_t runner = area.start + tracee::kAreaRunnerOffset;
  uint64_t returned = runner + (abi::stint_runner_resume_call - abi::stint_runner_start);
  uint64_t end = runner + (abi::stint_runner_end - abi::stint_runner_start);
  sys::Registers& now = thread.registers;
  bool in_call = now.rip == returned && tracee::in_system_call(now);
  if (!in_call && now.rip >= returned && now.rip < end) TRY(run_out_of_tail(thread, {returned, end}));
  if (now.rip < runner || now.rip >= end) return plan_resume(process, thread, deadlines);

  ResumeSlot slot = TRY(tracee::peek(process, RemotePtr<ResumeSlot>(now.rbx)));
  TRY(tracee::poke(process, RemotePtr<uint64_t>(now.rbx + offsetof(ResumeSlot, in_use)), uint64_t{0}));
  int64_t result = in_call ? static_cast<int64_t>(now.rax) : kEintr;
  now = program_registers(now, slot.frame.registers);
  now.orig_rax = slot.call.nr;
  bool cut = result == kEintr || result <= -512;
  bool moves_bytes = slot.frame.base > 0;
  bool few_events = takes_events(slot.call.nr) && result > 0 && result < static_cast<int64_t>(slot.call.args[1]);
  if (!cut && !moves_bytes && !few_events) {
    now.rax = static_cast<uint64_t>(result);
    return ResumeCall{};
  }
  ResumeCall resume;
  resume.kind = ResumeKind::kContinue;
  resume.nr = slot.call.nr;
  std::ranges::copy(slot.call.args, resume.args.begin());
  resume.done = slot.frame.base;
  if (moves_bytes || few_events) {
    uint64_t moved = result > 0 ? static_cast<uint64_t>(result) : 0;
    now.rax = resume.done + moved;
    if (takes_events(resume.nr)) {
      if (!cut && !few_events) return ResumeCall{};
      advance(resume, moved);
      take_time_left(thread, slot, deadlines, resume);
      return resume;
    }
    if (resume.nr == SYS_writev) {
      resume.done += moved;
      std::vector<iovec> vector;
      for (size_t i = 0; i < slot.call.args[2] && i < kMostPieces; ++i)
        vector.push_back({reinterpret_cast<void*>(slot.rest[2 * i]), slot.rest[2 * i + 1]});
      resume.rest = rest_of(vector, moved);
      return resume.rest.empty() ? ResumeCall{} : resume;
    }
    advance(resume, moved);
    return cut || (moved > 0 && resume.args[2] > 0) ? resume : ResumeCall{};
  }
  now.rax = static_cast<uint64_t>(kRestartNoHand);
  take_time_left(thread, slot, deadlines, resume);
  return resume;
}

void note_sleep(const tracee::Thread& thread, const ResumeCall& resume, Deadlines& deadlines) {
  // Without a timeout of its own a sleep has no end, but its call must be known the next time.
  constexpr int64_t kForever = int64_t{1} << 60;
  if (resume.kind == ResumeKind::kAsIs) return;
  deadlines.note(thread.tid, resume.nr, resume.time_left_ns < 0 ? kForever : resume.time_left_ns);
}

}  // namespace stint::task
