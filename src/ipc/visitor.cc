#include "ipc/visitor.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>

#include "mem/copy.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/memory.h"
#include "sys/message.h"
#include "sys/mqueue.h"
#include "sys/namespace.h"
#include "sys/process.h"
#include "sys/procfs.h"
#include "sys/signal.h"
#include "sys/sysv.h"

namespace stint::ipc {
namespace {

// Where pages are; what has none reads as zeros, and reading it would make some. The kernel does not tell which of the
// missing ones are in swap.
Result<std::vector<uint64_t>> present_pages(void* at, uint64_t size, bool any_in_swap) {
  uint64_t pages = page_up(size) / kPageSize;
  if (any_in_swap) return std::vector<uint64_t>{0, pages * kPageSize};
  std::vector<unsigned char> there(pages);
  TRY(sys::call("mincore", [&] { return ::mincore(at, pages * kPageSize, there.data()); }));
  std::vector<uint64_t> ranges;
  for (uint64_t page = 0; page < pages; ++page) {
    if ((there[page] & 1) == 0) continue;
    uint64_t start = page * kPageSize;
    if (!ranges.empty() && ranges.back() == start)
      ranges.back() += kPageSize;
    else
      ranges.insert(ranges.end(), {start, start + kPageSize});
  }
  return ranges;
}

}  // namespace

struct Visitor::Report {
  static constexpr const char* kName = "visitor's report";
  bool ready = false;
  uint8_t error_kind = 0;
  std::string error;
  Objects objects;
  std::vector<Attached> attached;
  template <class A>
  void fields(A& a) {
    a("ready", ready), a("error_kind", error_kind), a("error", error), a("objects", objects), a("attached", attached);
  }
};

Result<bool> has_own_namespace(Pid process) { return !TRY(sys::shares_namespace(process, "ipc")); }

namespace {

Result<sys::UniqueFd> move_in(Pid process) {
  bool with_user = !TRY(sys::shares_namespace(process, "user"));
  TRY(sys::enter_namespaces_of(process, CLONE_NEWIPC | (with_user ? CLONE_NEWUSER | CLONE_NEWNS : 0))
          .in("the job's IPC namespace"));
  return sys::message_queue_directory().in("POSIX message queues");
}

constexpr const char* kEnded = "the process that looks at the job's IPC objects has ended";

// False when there is nobody to wait for.
bool wait_for_word(int socket) {
  Bytes word(1);
  Result<std::optional<sys::Message>> message = sys::receive_message(socket, word, true);
  return message.has_value() && message->has_value() && (*message)->size > 0;
}

}  // namespace

Result<Visitor::Report> Visitor::visit(int queue_directory) {
  Report report;
  report.objects = TRY(look_at_objects(queue_directory));
  bool swapped = TRY(sys::segments_in_swap()) != 0;
  for (const image::SegmentRecord& segment : report.objects.segments) {
    void* at = TRY(sys::attach_segment(segment.owner.id, true).in(fmt::format("segment {}", segment.owner.id)));
    report.attached.push_back({reinterpret_cast<uint64_t>(at), TRY(present_pages(at, segment.size, swapped))});
  }
  return report;
}

void Visitor::main(Pid process, int socket, int report_file) {
  auto tell = [&](Result<Report> found) {
    Report report;
    report.ready = found.has_value();
    if (found.has_value()) {
      report.objects = std::move(found->objects), report.attached = std::move(found->attached);
    } else {
      report.error_kind = static_cast<uint8_t>(found.error().kind());
      report.error = found.error().text();
    }
    return sys::pwrite_all(report_file, image::encode(report), 0).has_value() &&
           sys::send_message(socket, Bytes(1)).has_value();
  };
  // Messages that it has taken must be put back.
  Result<sigset_t> blocked = sys::block_signals();
  Result<sys::UniqueFd> directory = blocked.has_value() ? move_in(process) : std::move(blocked).error();
  if (!directory.has_value()) {
    (void)tell(std::move(directory).error());
    sys::exit_now(0);
  }
  if (tell(Report()) && wait_for_word(socket) && tell(visit(directory->get()))) (void)wait_for_word(socket);
  sys::exit_now(0);
}

Result<Visitor::Report> Visitor::ask() {
  if (!wait_for_word(socket_.get())) return failed(kEnded);
  Bytes bytes(static_cast<size_t>(TRY(sys::fstat(report_.get())).st_size));
  TRY(sys::pread_all(report_.get(), bytes, 0));
  Report report = TRY(image::decode<Report>(bytes));
  if (!report.ready) return Error(static_cast<ErrorKind>(report.error_kind), report.error);
  return report;
}

Result<Visitor> Visitor::enter(Pid process) {
  Visitor visitor;
  auto [ours, theirs] = TRY(sys::message_pair());
  visitor.report_ = TRY(sys::anonymous_file("stint visitor"));
  pid_t child = TRY(sys::fork_beside_threads());
  if (child == 0) {
    ours.reset();
    main(process, theirs.get(), visitor.report_.get());
  }
  theirs.reset();
  visitor.pid_ = Pid{child};
  visitor.socket_ = std::move(ours);
  TRY(visitor.ask());
  visitor.namespace_ = TRY(sys::readlink(sys::proc_path(visitor.pid_, "ns/ipc")).in(kEnded));
  return visitor;
}

Result<> Visitor::look(Pid process) {
  if (TRY(sys::readlink(sys::proc_path(process, "ns/ipc"))) != namespace_)
    return not_now("the job went into another IPC namespace in this moment; try again");
  TRY(sys::send_message(socket_.get(), Bytes(1)).in(kEnded));
  Report report = TRY(ask());
  objects_ = std::move(report.objects);
  attached_ = std::move(report.attached);
  return {};
}

Visitor::~Visitor() {
  if (!socket_.valid()) return;
  socket_.reset();
  (void)sys::wait_pid(pid_.number);
}

Result<uint64_t> Visitor::save_segments(image::Sink& sink) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < attached_.size(); ++i) {
    uint64_t id = image::kSysvSegment | static_cast<uint64_t>(objects_.segments[i].owner.id);
    const Attached& attached = attached_[i];
    mem::Copier copier(pid_, image::kObjectSpace | id, sink);
    for (size_t at = 0; at + 1 < attached.present.size(); at += 2) {
      uint64_t start = attached.present[at], end = attached.present[at + 1];
      TRY(copier.add(attached.address + start, start, end - start, false));
    }
    TRY(copier.finish());
    bytes += copier.bytes();
  }
  return bytes;
}

}  // namespace stint::ipc
