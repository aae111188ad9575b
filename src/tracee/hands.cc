#include "tracee/hands.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "proc/maps.h"
#include "sys/descriptor.h"
#include "sys/poll.h"
#include "sys/process.h"
#include "sys/procfs.h"
#include "tracee/memory.h"
#include "tracee/sigframe.h"

namespace stint::tracee {
namespace {

// Inside the writable part of an area, behind the scratch memory: the frame, the signal frame, the table.
constexpr uint64_t kFrameOffset = Hands::kScratchSize;
constexpr uint64_t kTableOffset = kFrameOffset + 256;
constexpr uint64_t kSigframeOffset = Hands::kScratchSize + (20 << 10);
static_assert(kTableOffset + Hands::kTableCalls * sizeof(abi::RunnerCall) <= kSigframeOffset);
static_assert(kSigframeOffset + 12288 <= Hands::kWorkSize);

// The signals that do nothing by default. A stop for one of them tells us that a table is done; without a tracer it is
// ignored, or at worst handled once too often.
constexpr int kReportSignals[] = {SIGURG, SIGWINCH, SIGCHLD};
constexpr uint64_t bit(int signal) { return uint64_t{1} << (signal - 1); }

Error vanished(Pid thread) { return failed(fmt::format("thread {} has ended", thread.number)); }

Result<sys::WaitStatus> wait_for_stop(Thread& thread) {
  std::optional<sys::WaitStatus> status = TRY(sys::wait_thread(thread.tid, true));
  if (!status.has_value() || status->exited()) return vanished(thread.tid);
  return *status;
}

}  // namespace

uint64_t area_size(size_t threads) {
  return page_up(kAreaDataOffset + Hands::kWorkSize + threads * Hands::kResumeSlotSize);
}

Bytes area_code_page() {
  Bytes page(kPageSize);
  std::memcpy(page.data(), kAreaMagic, sizeof(kAreaMagic));
  std::memcpy(page.data() + kAreaRunnerOffset, abi::stint_runner_start,
              abi::stint_runner_end - abi::stint_runner_start);
  return page;
}

std::vector<Range> left_areas(Pid process, std::span<const proc::Vma> vmas) {
  std::vector<Range> left;
  for (const proc::Vma& vma : vmas) {
    if (vma.shared || !vma.exec || !vma.write || !vma.path.empty()) continue;
    char magic[sizeof(kAreaMagic)];
    Result<size_t> got = sys::read_memory(process, vma.range.start, magic, sizeof(magic));
    if (got.has_value() && *got == sizeof(magic) && std::memcmp(magic, kAreaMagic, sizeof(magic)) == 0)
      left.push_back(vma.range);
  }
  return left;
}

namespace {

Result<int64_t> call_through(StoppedProcess& process, const Entrance& entrance, const Call& call) {
  if (!entrance.lent.has_value()) return inject_call(process, entrance.foothold, call);
  return TRY(Hands::in_area(process, *entrance.lent).run(process.representative(), {&call, 1})).front();
}

}  // namespace

Hands Hands::in_area(StoppedProcess& process, Area area) {
  CHECK(area.size >= kWorkSize);
  return Hands(process, {}, area, {});
}

Result<Hands> Hands::map_area(StoppedProcess& process, const Entrance& entrance) {
  uint64_t size = area_size(process.threads().size());
  Call map{SYS_mmap, {0, size, PROT_READ | PROT_WRITE | PROT_EXEC, kAreaMapFlags, ~uint64_t{0}, 0}};
  int64_t start = TRY(call_through(process, entrance, map).in("map an area for the table-runner"));
  if (start == -EACCES)
    return refused(
        "it may not make memory executable (PR_SET_MDWE, SELinux), which a checkpoint needs for its own code: run it "
        "without that restriction");
  if (start < 0) return os_error("map an area for the table-runner: mmap", static_cast<int>(-start));
  uint64_t address = static_cast<uint64_t>(start);
  Bytes code = area_code_page();
  TRY(poke(process.seen_as(), address, code.data(), code.size()));
  Hands hands = adopt_area(process, entrance, {address, address + size});
  std::vector<Call> advise;
  for (int advice : kAreaAdvice) advise.push_back({SYS_madvise, {address, size, static_cast<uint64_t>(advice)}});
  for (int64_t result : TRY(hands.run(process.representative(), advise)))
    if (result < 0) return os_error("madvise", static_cast<int>(-result));
  return hands;
}

Hands Hands::adopt_area(StoppedProcess& process, const Entrance& entrance, Range mapped) {
  Area area{mapped.start + kAreaRunnerOffset, mapped.start + kAreaDataOffset, mapped.size() - kAreaDataOffset};
  return Hands(process, entrance, area, mapped);
}

Hands Hands::borrow_area(StoppedProcess& process, Range mapped) {
  Hands hands = adopt_area(process, {}, mapped);
  hands.keep_area();
  return hands;
}

Hands::Hands(Hands&& other) noexcept
    : process_(std::exchange(other.process_, nullptr)),
      entrance_(other.entrance_),
      area_(other.area_),
      mapped_(other.mapped_),
      keep_(other.keep_),
      slots_used_(other.slots_used_),
      newborns_(std::move(other.newborns_)) {}

Hands::~Hands() {
  if (process_ == nullptr || mapped_.empty() || keep_ || process_->threads().empty()) return;
  Call unmap{SYS_munmap, {mapped_.start, mapped_.size()}};
  (void)call_through(*process_, entrance_, unmap);  // It fails only if the process is gone.
}

Result<uint64_t> Hands::resume_slot() {
  uint64_t offset = kWorkSize + slots_used_ * kResumeSlotSize;
  if (offset + kResumeSlotSize > area_.size)
    return refused("more threads wait in system calls with a timeout than the agent's area has room for");
  ++slots_used_;
  return area_.start + offset;
}

Result<std::vector<int64_t>> Hands::run(Thread& thread, std::span<const Call> calls) {
  std::vector<int64_t> results;
  while (results.size() < calls.size()) {
    std::span<const Call> table = calls.subspan(results.size());
    table = table.first(std::min(table.size(), kTableCalls));
    std::vector<int64_t> done = TRY(run_one_table(thread, table));
    results.insert(results.end(), done.begin(), done.end());
    if (!done.empty() && done.back() == -ECANCELED) results.resize(calls.size(), -ECANCELED);
  }
  return results;
}

Result<int64_t> Hands::call(Thread& thread, const char* name, const Call& call) {
  int64_t result = TRY(run(thread, {&call, 1})).front();
  if (result < 0 && result >= -4095) return os_error(name, static_cast<int>(-result));
  return result;
}

Result<> Hands::write_table(Thread& thread, std::span<const Call> calls, int signal) {
  struct {
    abi::RunnerFrame frame{};
    std::byte gap[kTableOffset - kFrameOffset - sizeof(abi::RunnerFrame)];
    std::array<abi::RunnerCall, kTableCalls> table{};
  } image;
  image.frame.calls = area_.start + kTableOffset;
  image.frame.count = calls.size();
  image.frame.finish = STINT_FINISH_REPORT;
  image.frame.report_signal = signal;
  image.frame.sigframe = area_.start + kSigframeOffset;
  for (size_t i = 0; i < calls.size(); ++i) {
    abi::RunnerCall& entry = image.table[i];
    entry.nr = calls[i].nr;
    std::ranges::copy(calls[i].args, entry.args);
    entry.flags = calls[i].stop_on_error ? STINT_CALL_STOP_ON_ERROR : 0;
    entry.result = -ECANCELED;
  }
  size_t used = kTableOffset - kFrameOffset + calls.size() * sizeof(abi::RunnerCall);
  TRY(poke(process_->seen_as(), area_.start + kFrameOffset, &image, used));
  uint64_t at = area_.start + kSigframeOffset;
  Bytes xstate = TRY(sys::get_xstate(thread.tid));
  Bytes sigframe = build_sigframe(at, thread.registers, thread.signal_mask, xstate);
  return poke(process_->seen_as(), at, sigframe.data(), sigframe.size());
}

namespace {

// To the end of the next system call. Returns the signal that came from somebody else meanwhile, and is to be sent on.
Result<int> finish_call(Thread& thread) {
  constexpr int kSystemCallStop = SIGTRAP | 0x80;
  int signal = 0;
  for (int stops = 0; stops < 2;) {
    TRY(sys::ptrace_to_system_call(thread.tid));
    sys::WaitStatus status = TRY(wait_for_stop(thread));
    if (status.event() != 0) continue;
    if (status.signal() == kSystemCallStop)
      ++stops;
    else
      signal = status.signal();
  }
  return signal;
}

}  // namespace

Result<RemoteFd> lowest_free_number(Pid process) {
  sys::UniqueFd directory = TRY(sys::open_proc(process, "fd", O_RDONLY | O_DIRECTORY));
  RemoteFd free{0};
  for (int number : TRY(sys::list_numbers(directory.get())))
    if (number == free.number) ++free.number;
  return free;
}

Result<sys::UniqueFd> Hands::open_for_us(Thread& thread, const char* name, Call open) {
  // The table must know the number before the call has given it.
  RemoteFd number = TRY(lowest_free_number(process_->seen_as()));
  sys::UniqueFd process = TRY(sys::pidfd_of_thread(process_->seen_as()));
  open.stop_on_error = true;
  const Call calls[] = {open, {SYS_close, {static_cast<uint64_t>(number.number)}}};
  Result<sys::UniqueFd> ours = failed("its descriptor was not looked for");
  auto take = [&] { ours = sys::pidfd_getfd(process.get(), number); };
  Result<std::vector<int64_t>> results = run_one_table(thread, calls, take);
  if (!results.has_value()) {
    insist_on_closing(thread, number);
    return std::move(results).error();
  }
  int64_t opened = results->front();
  if (opened < 0) return os_error(name, static_cast<int>(-opened));
  if (opened == number.number) return ours;
  insist_on_closing(thread, RemoteFd{static_cast<int>(opened)});
  return failed(fmt::format("{}: the descriptor is {}, not {}", name, opened, number.number));
}

// A table that has come to nothing may have opened it, and may be under way to close it: nobody else has that number.
void Hands::insist_on_closing(Thread& thread, RemoteFd fd) {
  constexpr int kAttempts = 20;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Result<int64_t> closed = call(thread, "close", {SYS_close, {static_cast<uint64_t>(fd.number)}});
    if (closed.has_value() || closed.error().os_errno() == EBADF) return;
    (void)sys::poll({}, 1);
  }
}

// Until the runner's own signal stops it. The same signal from somebody else, meanwhile, is sent on afterwards.
Result<> Hands::run_table(Thread& thread, int signal) {
  uint64_t reported = area_.runner + (abi::stint_runner_reported - abi::stint_runner_start);
  bool somebody_else_sent_it = false;
  while (true) {
    TRY(sys::ptrace_continue(thread.tid));
    sys::WaitStatus status = TRY(wait_for_stop(thread));
    if (status.event() != 0 || status.signal() != signal) {
      if (status.event() == PTRACE_EVENT_CLONE || status.event() == PTRACE_EVENT_FORK)
        newborns_.push_back(Pid{static_cast<int>(TRY(sys::get_event_message(thread.tid)))});
      if (status.event() != 0) continue;
      return failed(fmt::format("thread {} was stopped by signal {} inside the table-runner", thread.tid.number,
                                status.signal()));
    }
    sys::Registers now = TRY(sys::get_registers(thread.tid));
    if (now.rip == reported) break;
    somebody_else_sent_it = true;
  }
  if (somebody_else_sent_it) ::kill(process_->pid().number, signal);
  return {};
}

namespace {

// One that is not pending: a pending one would be taken for the runner's.
Result<int> choose_report_signal(Thread& thread) {
  uint64_t pending = 0;
  for (bool shared : {false, true})
    for (const siginfo_t& info : TRY(sys::peek_signals(thread.tid, shared))) pending |= bit(info.si_signo);
  for (int signal : kReportSignals)
    if ((pending & bit(signal)) == 0) return signal;
  return not_now(fmt::format("thread {}: SIGURG, SIGWINCH and SIGCHLD are all pending; try again", thread.tid.number));
}

}  // namespace

// The thread will run the table when it goes on. The registers first: with them, whatever comes, it gets its mask back.
Result<> Hands::start_table(Thread& thread, int signal) {
  sys::Registers registers = thread.registers;
  registers.rip = area_.runner;
  registers.rbx = area_.start + kFrameOffset;
  registers.orig_rax = ~uint64_t{0};
  TRY(sys::set_registers(thread.tid, registers));
  return sys::set_signal_mask(thread.tid, ~bit(signal));
}

Result<> Hands::exit(Thread& thread, int status) {
  Call call{SYS_exit_group, {static_cast<uint64_t>(status)}};
  TRY(write_table(thread, {&call, 1}, SIGURG));
  TRY(start_table(thread, SIGURG));
  while (true) {
    TRY(sys::ptrace_continue(thread.tid));
    std::optional<sys::WaitStatus> told = TRY(sys::wait_thread(thread.tid, true));
    if (!told.has_value() || told->exited()) return {};
  }
}

Result<std::vector<int64_t>> Hands::run_one_table(Thread& thread, std::span<const Call> calls,
                                                  const std::function<void()>& after_first) {
  int signal = TRY(choose_report_signal(thread));
  TRY(write_table(thread, calls, signal));
  TRY(start_table(thread, signal));
  int somebody_elses = after_first ? TRY(finish_call(thread)) : 0;
  if (after_first) after_first();
  TRY(run_table(thread, signal));
  if (somebody_elses != 0) ::kill(process_->pid().number, somebody_elses);
  // At once: the frame that would else give it back is another thread's with the next table.
  TRY(give_back(thread));
  std::vector<abi::RunnerCall> table(calls.size());
  size_t size = table.size() * sizeof(abi::RunnerCall);
  size_t got = TRY(sys::read_memory(process_->seen_as(), area_.start + kTableOffset, table.data(), size));
  if (got != size) return failed("the table-runner's results cannot be read");
  std::vector<int64_t> results;
  for (const abi::RunnerCall& entry : table) results.push_back(entry.result);
  return results;
}

}  // namespace stint::tracee
