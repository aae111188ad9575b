// A pidfd refers to a process, whatever becomes of it. Of one that is there (alive, or ended and not waited for) the
// kernel tells the number; it is opened again by its holder when all processes of the job are there. One whose process
// is gone for good can say nothing any more but that: any process that has ended and was waited for will do. With
// --external=close a process outside of the job counts as gone.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>

#include "fd/kinds.h"
#include "fd/table.h"
#include "proc/process.h"
#include "sys/process.h"
#include "sys/procfs.h"

namespace stint::fd {
namespace {

using image::PidfdRecord;

constexpr uint32_t kThread = O_EXCL;  // PIDFD_THREAD

bool recognises(const Facts& facts, const CaptureContext&) {
  return facts.info.pidfd.has_value() &&
         (facts.link.starts_with("anon_inode:[pidfd]") || facts.link.starts_with("pidfd:"));
}

Result<bool> is_leader(int tid) { return TRY(proc::parse_status(TRY(sys::read_proc(Pid{tid}, "status")))).tgid == tid; }

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  PidfdRecord record;
  record.description = description;
  record.thread = (description.flags & kThread) != 0;
  int pid = facts.info.pidfd->pid;
  if (pid > 0) record.pid = pid == facts.pid.number ? facts.job_pid.number : 0;
  if (pid > 0 && record.pid == 0 && context.job_number) record.pid = context.job_number(pid);
  if (pid >= 0 && record.pid == 0)
    TRY(cut_off(facts, context, "refers to a process that is not in the job", "close it before the checkpoint"));
  if (record.thread && record.pid != 0 && !TRY(is_leader(pid)))
    return refusal(facts, "refers to a single thread, and is made before they are", "close it before the checkpoint");
  return put_record(context.sink, kPidfd.type, record);
}

bool is_late(ByteView bytes, JobPid maker) {
  Result<PidfdRecord> record = image::decode<PidfdRecord>(bytes);
  return record.has_value() && record->pid != 0 && record->pid != maker.number;
}

// Of a process that has ended and was waited for.
Result<sys::UniqueFd> refer_to_nobody() {
  pid_t child = TRY(sys::fork_process());
  if (child == 0) sys::exit_now(0);
  Result<sys::UniqueFd> pidfd = sys::pidfd_open(child);
  TRY(sys::wait_pid(child));
  return pidfd;
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext&) {
  PidfdRecord record = TRY(image::decode<PidfdRecord>(bytes));
  if (record.pid == 0) return refer_to_nobody();
  return sys::pidfd_open(record.pid, record.thread ? kThread : 0);
}

Result<int> make_in(ByteView bytes, Receiver& holder) {
  PidfdRecord record = TRY(image::decode<PidfdRecord>(bytes));
  uint64_t flags = (record.thread ? kThread : 0) | (record.description.flags & O_NONBLOCK);
  tracee::Call open{SYS_pidfd_open, {static_cast<uint64_t>(record.pid), flags}};
  return static_cast<int>(TRY(holder.hands.call(holder.process.representative(), "pidfd_open", open)));
}

}  // namespace

const Kind kPidfd = {
    .name = "pidfd",
    .kept = "which process it refers to, be it ended or gone; PIDFD_NONBLOCK",
    .refused = "the process is not in the job, without --external=close; it refers to a single thread (PIDFD_THREAD)",
    .type = image::RecordType::kPidfd,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
    .is_late = is_late,
    .make_in = make_in,
};

}  // namespace stint::fd
