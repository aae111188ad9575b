#include "tracee/hands.h"

#include <linux/ptrace.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "proc/maps.h"
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
// Shared, so that it never merges with a mapping of the program's beside it.
constexpr uint64_t kAreaMapFlags = MAP_SHARED | MAP_ANONYMOUS;
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

Result<Range> find_left_area(Pid process) {
  std::string text = TRY(sys::read_proc(process, "maps"));
  for (const proc::Vma& vma : TRY(proc::parse_maps(text))) {
    if (!vma.shared || !vma.exec || vma.path != "/dev/zero") continue;
    char magic[sizeof(kAreaMagic)];
    Result<size_t> got = sys::read_memory(process, vma.range.start, magic, sizeof(magic));
    if (got.has_value() && *got == sizeof(magic) && std::memcmp(magic, kAreaMagic, sizeof(magic)) == 0)
      return vma.range;
  }
  return Range{};
}

Hands Hands::in_area(StoppedProcess& process, Area area) {
  CHECK(area.size >= kWorkSize);
  return Hands(process, area, {});
}

Result<Hands> Hands::map_area(StoppedProcess& process) {
  uint64_t size = area_size(process.threads().size());
  Call map{SYS_mmap,
           {0, size, PROT_READ | PROT_WRITE | PROT_EXEC, kAreaMapFlags, ~uint64_t{0}, 0}};
  int64_t start = TRY(inject_call(process, process.leader(), map).in("map an area for the table-runner"));
  if (start < 0) return os_error("map an area for the table-runner: mmap", static_cast<int>(-start));
  uint64_t address = static_cast<uint64_t>(start);
  Bytes code = area_code_page();
  TRY(poke(process.pid(), address, code.data(), code.size()));
  return adopt_area(process, {address, address + size});
}

Hands Hands::adopt_area(StoppedProcess& process, Range mapped) {
  Area area{mapped.start + kAreaRunnerOffset, mapped.start + kAreaDataOffset, mapped.size() - kAreaDataOffset};
  return Hands(process, area, mapped);
}

Hands::Hands(Hands&& other) noexcept
    : process_(std::exchange(other.process_, nullptr)),
      area_(other.area_),
      mapped_(other.mapped_),
      keep_(other.keep_),
      slots_used_(other.slots_used_) {}

Hands::~Hands() {
  if (process_ == nullptr || mapped_.empty() || keep_ || process_->threads().empty()) return;
  Call unmap{SYS_munmap, {mapped_.start, mapped_.size()}};
  (void)inject_call(*process_, process_->leader(), unmap);  // It fails only if the process is gone.
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
  TRY(poke(process_->pid(), area_.start + kFrameOffset, &image, used));
  uint64_t at = area_.start + kSigframeOffset;
  Bytes xstate = TRY(sys::get_xstate(thread.tid));
  Bytes sigframe = build_sigframe(at, thread.registers, thread.signal_mask, xstate);
  return poke(process_->pid(), at, sigframe.data(), sigframe.size());
}

// Until the runner's own signal stops it. The same signal from somebody else, meanwhile, is sent on afterwards.
Result<> Hands::run_table(Thread& thread, int signal) {
  uint64_t reported = area_.runner + (abi::stint_runner_reported - abi::stint_runner_start);
  bool somebody_else_sent_it = false;
  while (true) {
    TRY(sys::ptrace_continue(thread.tid));
    sys::WaitStatus status = TRY(wait_for_stop(thread));
    if (status.event() != 0 || status.signal() != signal) {
      if (status.event() != 0) continue;  // also PTRACE_EVENT_CLONE, of a table that makes threads
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
  return refused(fmt::format("thread {}: SIGURG, SIGWINCH and SIGCHLD are all pending; try again", thread.tid.number));
}

}  // namespace

Result<std::vector<int64_t>> Hands::run_one_table(Thread& thread, std::span<const Call> calls) {
  int signal = TRY(choose_report_signal(thread));
  TRY(write_table(thread, calls, signal));
  sys::Registers registers = thread.registers;
  registers.rip = area_.runner;
  registers.rbx = area_.start + kFrameOffset;
  registers.orig_rax = ~uint64_t{0};
  TRY(sys::set_signal_mask(thread.tid, ~bit(signal)));
  TRY(sys::set_registers(thread.tid, registers));
  TRY(run_table(thread, signal));
  std::vector<abi::RunnerCall> table(calls.size());
  size_t size = table.size() * sizeof(abi::RunnerCall);
  size_t got = TRY(sys::read_memory(process_->pid(), area_.start + kTableOffset, table.data(), size));
  if (got != size) return failed("the table-runner's results cannot be read");
  std::vector<int64_t> results;
  for (const abi::RunnerCall& entry : table) results.push_back(entry.result);
  return results;
}

}  // namespace stint::tracee
