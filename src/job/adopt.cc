// A process that was started without us. What a supervisor would have noted down is read off the process; it goes on,
// after a restart, in namespaces of its own, where its numbers are free.
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "job/state.h"
#include "proc/process.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/process.h"
#include "sys/procfs.h"
#include "tracee/first_thread.h"

namespace stint::job {
namespace {

constexpr uint32_t kKernelThread = 0x00200000;  // PF_KTHREAD

std::vector<std::string> split_arguments(const std::string& cmdline) {
  std::vector<std::string> arguments;
  for (size_t at = 0; at < cmdline.size(); at = cmdline.find('\0', at) + 1) arguments.push_back(cmdline.c_str() + at);
  return arguments;
}

// The terminal of a process that has one among its standard streams; 0 for none.
uint64_t look_at_streams(Pid seen_as, Job& job) {
  constexpr unsigned kFirstUnix98Slave = 136, kLastUnix98Slave = 143;
  uint64_t terminal = 0;
  for (int fd = 0; fd < 3; ++fd) {
    Result<struct stat> found = sys::stat(sys::proc_path(seen_as, fmt::format("fd/{}", fd)));
    if (!found) continue;
    bool is_terminal = S_ISCHR(found->st_mode) && major(found->st_rdev) >= kFirstUnix98Slave &&
                       major(found->st_rdev) <= kLastUnix98Slave;
    if (is_terminal) terminal = found->st_rdev;
    bool outside = S_ISFIFO(found->st_mode) || S_ISSOCK(found->st_mode);
    job.streams[static_cast<size_t>(fd)] = {true, found->st_dev, found->st_ino, found->st_rdev, outside, is_terminal};
  }
  return terminal;
}

// What a restart makes again of the parent, in the numbers of the root's own PID namespace. Its group cannot be told
// from outside for sure, and is taken for that of its session.
Result<image::StandIn> parent_of(Pid root, const proc::Stat& stat, const proc::Status& status) {
  size_t depth = status.nspid.size();
  proc::Status parent;
  if (stat.ppid != 0) parent = TRY(proc::parse_status(TRY(sys::read_proc(Pid{stat.ppid}, "status"))));
  if (depth == 0 || parent.nspid.size() < depth)
    return refused(
        fmt::format("process {} ({}) has no parent in this PID namespace, as the first process of a container "
                    "has none; run it below another one, best `stint run`",
                    root.number, stat.comm));
  int session = parent.nssid[depth - 1];
  return image::StandIn{parent.nspid[depth - 1], session, session};
}

}  // namespace

Result<Job> look_at(Pid root) {
  Pid seen_as = tracee::living_thread(root);
  proc::Stat stat = TRY(proc::parse_stat(TRY(sys::read_proc(root, "stat"))));
  proc::Status status = TRY(proc::parse_status(TRY(sys::read_proc(root, "status"))));
  if (status.uids[0] != sys::effective_user())
    return refused(fmt::format("process {} ({}) is another user's", root.number, stat.comm));
  if ((stat.flags & kKernelThread) != 0)
    return refused(fmt::format("process {} ({}) is part of the kernel", root.number, stat.comm));
  Job job;
  job.stand_ins = {TRY(parent_of(root, stat, status))};
  job.terminal_device = look_at_streams(seen_as, job);
  if (job.terminal_device != 0 && stat.session == 0)
    return refused(
        fmt::format("process {} ({}) uses a terminal, and its session is not of this PID namespace: start it by "
                    "setsid(1), or under `stint run`",
                    root.number, stat.comm));
  job.arguments = split_arguments(TRY(sys::read_proc(seen_as, "cmdline")));
  if (job.arguments.empty()) job.arguments.push_back(stat.comm);
  job.working_directory = TRY(sys::readlink(sys::proc_path(seen_as, "cwd")));
  job.uid = status.uids[0], job.gid = status.gids[0];
  job.contained = true;
  job.started = sys::realtime_s();
  int job_pid = status.nspid.empty() ? root.number : status.nspid.back();
  job.root = TRY(member(root, JobPid{job_pid}));
  return job;
}

Result<Job> adopt(Pid root) {
  Job job = TRY(look_at(root));
  Claim claim = TRY(claim_job(name_for(job.arguments, job.working_directory, false), true));
  job.name = claim.name, job.directory = claim.directory;
  TRY(write_job(job));
  return job;
}

}  // namespace stint::job
