#include "capture/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <future>

#include "mem/aio_settle.h"
#include "mem/classify.h"
#include "sys/procfs.h"
#include "task/rare_state.h"
#include "task/resume_slot.h"
#include "task/thread.h"
#include "task/timers.h"
#include "tracee/table.h"

namespace stint::capture {

namespace {

Result<std::vector<sys::PageRun>> scan_pages(Pid pid) {
  std::vector<proc::Vma> vmas = TRY(proc::parse_maps(TRY(sys::read_proc(pid, "maps"))));
  return mem::scan(vmas, TRY(sys::Pagemap::open(pid)));
}

}  // namespace

Result<> ProcessCapture::enter() {
  for (tracee::Thread& thread : process_.threads()) TRY(task::abort_critical_section(process_.seen_as(), thread));
  // Two walks over the page table, which is what takes time once memory is copied ahead: at the same time.
  std::future<Result<std::vector<sys::PageRun>>> scan;
  if (copied_ != nullptr) scan = std::async([pid = process_.seen_as()] { return scan_pages(pid); });
  Result<> looked = look_at_mappings();
  if (scan.valid()) {
    Result<std::vector<sys::PageRun>> scanned = scan.get();
    if (scanned.has_value()) scanned_ = *std::move(scanned);  // Else it is done again, and the failure told.
  }
  return enter(std::move(looked));
}

Result<> ProcessCapture::enter_for_a_moment() {
  for (tracee::Thread& thread : process_.threads()) TRY(task::abort_critical_section(process_.seen_as(), thread));
  auto look = [this]() -> Result<> {
    TRY(look_at_threads());
    for (proc::Vma& vma : TRY(proc::parse_maps(TRY(sys::read_proc(process_.seen_as(), "maps")))))
      mappings_.emplace_back().vma = std::move(vma);
    return {};
  };
  return enter(look());
}

std::vector<proc::Vma> ProcessCapture::mappings() const {
  std::vector<proc::Vma> vmas;
  for (const proc::VmaUsage& usage : mappings_) vmas.push_back(usage.vma);
  return vmas;
}

Result<> ProcessCapture::enter(Result<> enterable) {
  if (!enterable.has_value()) {
    (void)plan_resumes({});  // Nothing of ours was ever in it; the refusal is what is to be told.
    return enterable;
  }
  std::vector<proc::Vma> vmas = mappings();
  std::vector<Range> left = tracee::left_areas(process_.seen_as(), vmas);
  Result<> planned = plan_resumes(left);
  if (!planned.has_value() && left.empty()) return planned;
  Result<> entered = get_hands_in(vmas, left);
  return planned.has_value() ? entered : planned;
}

// Before any call is made in it.
Result<> ProcessCapture::look_at_threads() {
  facts_ = TRY(task::look_at_tasks(process_));
  TRY(task::check_enterable(facts_));
  for (const tracee::Thread& thread : process_.threads()) TRY(task::check_system_calls_arrive(thread));
  return {};
}

Result<> ProcessCapture::look_at_mappings() {
  TRY(look_at_threads());
  mappings_ = TRY(proc::parse_smaps(TRY(sys::read_smaps(process_.seen_as()))));
  return check_mappings_supported(mappings_);
}

// How each thread goes on, whatever comes next.
Result<> ProcessCapture::plan_resumes(const std::vector<Range>& left) {
  for (tracee::Thread& thread : process_.threads()) {
    auto in = std::ranges::find_if(left, [&](Range area) { return task::is_in_runner(thread, area); });
    resumes_.push_back(in == left.end() ? TRY(task::plan_resume(process_.seen_as(), thread, deadlines_))
                                        : TRY(task::leave_runner(process_.seen_as(), thread, *in, deadlines_)));
  }
  return {};
}

// Into the area that the agent lends. Where threads are to go on in the runner, into one of their own: that which an
// earlier checkpoint had to leave there, if it is large enough and nobody will come back into it. Such ones that are
// not needed go; one into which a handler will return is the program's own memory from now on.
Result<> ProcessCapture::get_hands_in(std::span<const proc::Vma> vmas, const std::vector<Range>& left) {
  const abi::LedgerProcess* noted = ledger_.find(static_cast<uint32_t>(facts_.job_number()));
  tracee::Entrance entrance = TRY(tracee::find_entrance(process_, vmas, noted != nullptr ? &noted->areas : nullptr));
  std::vector<Range> free;
  for (Range area : left)
    if (!TRY(task::handler_returns_into(process_.seen_as(), area))) free.push_back(area);
  std::erase_if(mappings_, [&](const proc::VmaUsage& usage) {
    return std::ranges::any_of(free, [&](Range area) { return area.overlaps(usage.vma.range); });
  });
  uint64_t wanted = tracee::area_size(process_.threads().size());
  auto fitting = std::ranges::find_if(free, [&](Range area) { return area.size() >= wanted; });
  if (entrance.lent.has_value() && std::ranges::none_of(resumes_, task::needs_area)) {
    hands_.emplace(tracee::Hands::in_area(process_, *entrance.lent));
  } else if (fitting == free.end()) {
    hands_.emplace(TRY(tracee::Hands::map_area(process_, entrance)));
  } else {
    hands_.emplace(tracee::Hands::adopt_area(process_, entrance, *fitting));
    free.erase(fitting);
  }
  lent_ = entrance.lent.has_value() ? entrance.lent->memory() : Range();
  for (Range area : free)
    TRY(hands_->call(process_.representative(), "munmap", {SYS_munmap, {area.start, area.size()}}));
  return {};
}

Result<> ProcessCapture::capture_tasks(image::Sink& sink) {
  readable_ = TRY(task::Readable::open(process_, *hands_));
  TRY(task::look_at_process(process_.seen_as(), facts_));
  TRY(task::check_supported(facts_));
  record_ = TRY(task::capture_process(process_, *hands_, facts_));
  if (readable_.has_value()) record_.dumpable = readable_->dumpable();
  record_.stop_signal = process_.representative().group_stop;
  task::Pending pending = TRY(task::capture_timers(process_, *hands_, facts_.job_tids, record_));
  record_.pending = std::move(pending.shared);
  if (facts_.ended_first.has_value()) {
    image::ThreadRecord first =
        TRY(task::look_at_ended_thread(*facts_.ended_first, facts_.threads.at(facts_.stat.pid)));
    first.pid = first.tid = record_.pid;
    TRY(sink.put({image::RecordType::kThread, 1, true, image::encode(first)}));
  }
  for (size_t i = 0; i < resumes_.size(); ++i) {
    tracee::Thread& thread = process_.threads()[i];
    int32_t tid = facts_.job_tids.at(thread.tid.number);
    image::ThreadRecord recorded =
        TRY(task::capture_thread(process_, thread, *hands_, record_.pid, tid, facts_.threads.at(thread.tid.number))
                .in(fmt::format("thread {}", tid)));
    recorded.resume = resumes_[i];
    recorded.pending = std::move(pending.own[thread.tid.number]);
    TRY(sink.put({image::RecordType::kThread, 1, true, image::encode(recorded)}));
  }
  return {};
}

Result<> ProcessCapture::settle_aio(image::Sink& sink) {
  for (const image::AioRingRecord& ring : TRY(mem::settle_aio(process_, *hands_, record_.pid, mappings())))
    TRY(sink.put({image::RecordType::kAioRing, 1, true, image::encode(ring)}));
  return {};
}

Result<> ProcessCapture::capture_memory(const std::string& ledger, const ProcessCapture* parent,
                                        files::MappedFiles& mapped_files, mem::SharedMemory& shared_memory,
                                        image::Sink& sink) {
  TRY(note_kernel_pages());
  MemorySurroundings surroundings{std::move(mappings_), lent_, {facts_.exe, ledger}, nullptr, copied_};
  if (scanned_.has_value()) surroundings.scanned = &*scanned_;
  if (parent != nullptr && can_inherit(parent->record_)) surroundings.parents = &parent->memory_;
  memory_ = TRY(capture::capture_memory(process_, record_.pid, surroundings, mapped_files, shared_memory, *hands_, sink)
                    .in("memory"));
  record_.exe_file = memory_.exe_file;
  if (memory_.inherits) record_.memory_from = record_.ppid;
  return {};
}

// Whether it can be born when its parent has its memory, and thus is in its last session.
bool ProcessCapture::can_inherit(const image::ProcessRecord& parent) const {
  bool session = record_.sid == parent.sid || record_.sid == record_.pid;
  return session && record_.vdso_start == parent.vdso_start;
}

// Where the vDSO is, and its text: on another kernel its entry points lie elsewhere.
Result<> ProcessCapture::note_kernel_pages() {
  Pid pid = process_.seen_as();
  for (const proc::VmaUsage& usage : mappings_) {
    const proc::Vma& vma = usage.vma;
    if (vma.name == proc::VmaName::kVvar && record_.vvar_start == 0) record_.vvar_start = vma.range.start;
    if (vma.name != proc::VmaName::kVdso) continue;
    record_.vdso_start = vma.range.start;
    record_.vdso.resize(vma.range.size());
    size_t got = TRY(sys::read_memory(pid, vma.range.start, record_.vdso.data(), record_.vdso.size()));
    if (got != record_.vdso.size()) return failed("the vDSO cannot be read");
  }
  return {};
}

Result<> ProcessCapture::put(image::Sink& sink) {
  return sink.put({image::RecordType::kProcess, 1, true, image::encode(record_)});
}

Result<bool> ProcessCapture::close_on_exec(RemoteFd fd) {
  tracee::Call ask{SYS_fcntl, {static_cast<uint64_t>(fd.number), F_GETFD}};
  return (TRY(hands().call(process_.representative(), "F_GETFD", ask)) & FD_CLOEXEC) != 0;
}

Result<std::optional<ucred>> ProcessCapture::peer_credentials(RemoteFd socket) {
  tracee::Table table(hands());
  uint64_t credentials = table.out<ucred>();
  uint64_t size = table.in(static_cast<socklen_t>(sizeof(ucred)));
  table.must("getsockopt", SYS_getsockopt,
             {static_cast<uint64_t>(socket.number), SOL_SOCKET, SO_PEERCRED, credentials, size});
  TRY(table.run(process_.representative(), process_.seen_as()));
  return std::optional(table.value<ucred>(credentials));
}

// There is no room for descriptors: none is put into the program's table.
Result<std::optional<ucred>> ProcessCapture::sender_credentials(RemoteFd socket) {
  constexpr size_t kControl = CMSG_SPACE(sizeof(ucred));
  tracee::Table table(hands());
  iovec vector{reinterpret_cast<void*>(table.room(1)), 1};
  uint64_t control = table.out<std::array<std::byte, kControl>>();
  msghdr message{};
  message.msg_iov = reinterpret_cast<iovec*>(table.in(vector));
  message.msg_iovlen = 1;
  message.msg_control = reinterpret_cast<void*>(control);
  message.msg_controllen = kControl;
  table.must("recvmsg", SYS_recvmsg,
             {static_cast<uint64_t>(socket.number), table.in(message), MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC});
  TRY(table.run(process_.representative(), process_.seen_as()));
  cmsghdr header = table.value<cmsghdr>(control);
  if (header.cmsg_level != SOL_SOCKET || header.cmsg_type != SCM_CREDENTIALS) return std::optional<ucred>();
  return std::optional(table.value<ucred>(control + CMSG_LEN(0)));
}

Result<> ProcessCapture::leave() {
  Result<> prepared;
  for (size_t i = 0; i < resumes_.size() && hands_.has_value() && prepared.has_value(); ++i) {
    if (!task::needs_area(resumes_[i])) continue;
    prepared = task::prepare_thaw(process_, process_.threads()[i], resumes_[i], *hands_);
    hands_->keep_area();
  }
  readable_.reset();
  hands_.reset();
  return prepared;
}

void ProcessCapture::note_sleeps() {
  for (size_t i = 0; i < resumes_.size() && i < process_.threads().size(); ++i)
    task::note_sleep(process_.threads()[i], resumes_[i], deadlines_);
}

}  // namespace stint::capture
