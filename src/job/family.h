// The family of a job: the processes of ours that live with it, and how its root comes to be.
//
//   contained:  supervisor ─ builder ─ init (1 inside) ─ stand-in ─ root
//   plain:      supervisor ─ stand-in ─ root
//
// The builder enters new user, pid, mount and time namespaces and is gone at once. Init reaps what nobody else does,
// and ends when nobody is left. The stand-in leads the job's session, holds the master of its terminal, is the parent
// of the root and of every orphan, and writes down how the root ended. Neither needs the supervisor: they outlive it.
#pragma once

#include <termios.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/remote.h"
#include "base/result.h"
#include "image/task_records.h"
#include "sys/fd.h"
#include "sys/terminal.h"

namespace stint::job {

struct Family {
  Pid init;  // 0 in a plain job
  Pid stand_in, root;
  JobPid job_stand_in, job_root;
  sys::UniqueFd root_pidfd;        // not valid when the root has ended already
  sys::UniqueFd socket;            // reports come from here: job/report.h
  sys::UniqueFd master;            // of the job's terminal; not valid when it has none
  std::vector<std::string> notes;  // said once to the user: "the job sees the /proc of ..."
};

struct FamilyPlan {
  // Where the stand-in writes `status`, and `log` when there is no supervisor to take the terminal's output.
  std::string directory;
  bool contained = true;
  // With a user namespace of its own: for who is not root. Without: pid, mount and time namespaces only, by root.
  bool user_namespace = true;
  // With an IPC namespace of its own: System V objects and POSIX message queues are the job's alone. In a plain job
  // needs CAP_SYS_ADMIN.
  bool own_ipc = false;
  // Pseudoterminals of its own, in a contained job: their numbers are free at a restart, whoever has a terminal open
  // here. A terminal of ours that the job is given as it is has no name in there then (ttyname(3)).
  bool own_pts = false;
  // The numbers that the stand-in and the root must have, as the job sees them; 0 for any. A stand-in whose session is
  // another process's gets that process too: a leader of the session, which does nothing.
  image::StandIn stand_in;
  int32_t root_pid = 0;
  // The root's process group: its own (0), its parent's (the parent's number), or left to root_main (-1: it will call
  // setsid or setpgid itself). The root's group is put into the foreground of the terminal.
  int32_t root_group = 0;
  // The root's session, if neither the root nor the stand-in leads it; 0 otherwise.
  int32_t root_session = 0;
  // Session and group of the root are of a PID namespace above its own, and 0 to it. For a contained job without a
  // terminal.
  bool outside_session = false;
  // How much more CLOCK_MONOTONIC and CLOCK_BOOTTIME shall show to the job than to us. In a plain job anything but 0
  // needs CAP_SYS_ADMIN.
  int64_t monotonic_offset_ns = 0, boottime_offset_ns = 0;
  // A terminal of the job's own.
  bool terminal = false;
  std::optional<termios> modes;
  std::optional<winsize> size;
  // The family is there, and its root waits to be let go: what must be known of it is to be written down now. When this
  // fails, or we are killed in it, nothing of the family is left.
  std::function<Result<>(const Family&)> before_root;
  // What the root does: all signals are blocked, SIGCHLD is not ignored, `terminal` is the slave (close-on-exec) or -1.
  // It execs, or becomes the program otherwise; what it returns is its exit status.
  std::function<int(int terminal)> root_main;
};

// Called by a single-threaded process that has all signals blocked. Its descriptors and all else that is inherited pass
// to the root; init and the stand-in close what they do not need. kUnfit: a number is taken (by whom is said), kFailed:
// namespaces are refused (what an administrator can do is said).
Result<Family> start_family(const FamilyPlan& plan);

// Ends a family whose root has not become the program, however much of it is there: nothing is left when this returns.
// The caller has no other children.
Result<> end_family(Family& family);

// What to tell somebody for whom `error`, from unshare or a write to uid_map, means that namespaces are forbidden here.
Error namespaces_refused(Error error);

}  // namespace stint::job
