// The directory of a job, $STINT_HOME/jobs/NAME: all that is known of a job lies there, so that the supervisor holds no
// state that only it knows. Who is alive is asked of the kernel, by process number and start time: a number alone may
// be a stranger's by now.
//
//   job.json   who the job is: written by the supervisor when the family is there, and again by each restart
//   lock       flock: held while the job is being started, checkpointed or restarted
//   status     how the root ended, "exited 0" or "killed 9": written by the stand-in
//   stopped    the number of the checkpoint that stopped the job: written by `checkpoint --stop`
//   log        what the job wrote to a terminal or, detached, to its standard streams, when nobody was there to take it
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/remote.h"
#include "base/result.h"
#include "image/task_records.h"
#include "sys/fd.h"

namespace stint::job {

// A process of the family: number as we see it and as the job sees it, and field 22 of /proc/PID/stat.
struct Member {
  Pid pid;
  uint64_t start_time = 0;
  JobPid job_pid;
};

// What the program found at 0, 1 and 2.
struct Stream {
  bool open = false;
  uint64_t device = 0, inode = 0, special = 0;  // st_dev, st_ino, st_rdev
  bool outside = false;                         // a pipe, a socket or a terminal whose other end is not in the job
  bool terminal = false;                        // the job's own terminal has taken its place
};

struct Job {
  std::string name;
  std::string directory;
  std::vector<std::string> arguments;
  std::string working_directory;
  uint32_t uid = 0, gid = 0;
  bool contained = false;
  uint32_t generation = 0;  // how many restarts lie behind it
  int64_t started = 0;      // seconds since 1970
  Member supervisor, init, stand_in, root;
  std::array<Stream, 3> streams;
  uint64_t terminal_device = 0;  // st_rdev of the slave of the job's terminal; 0: it has none
  std::string agent_hash;        // which agent it runs with; empty for none
  // Who the job knows outside of itself, in its own numbers: its parent first.
  std::vector<image::StandIn> stand_ins;
};

enum class JobState {
  kStarting,  // somebody is making it, or a start was cut short
  kRunning,
  kUnsupervised,  // runs on without its supervisor
  kStopped,       // ended by `checkpoint --stop`: to be restarted
  kEnded,
  kLost,  // gone without a word: killed with its stand-in, or the machine went down
};
const char* name_of(JobState state);

// How a root ended.
struct Ending {
  bool killed = false;
  int value = 0;  // exit status or signal
  // What a shell would show: 128 + n for a signal.
  int exit_status() const { return killed ? 128 + value : value; }
};

// What was set, else $STINT_HOME, else $XDG_STATE_HOME/stint, else ~/.local/state/stint. Not made yet.
Result<std::string> state_directory();
Result<std::string> jobs_directory();
// For this process and what it forks, not for what it execs: the program's environment stays as it was. A relative path
// is one of the working directory.
Result<> set_state_directory(const std::string& path);

// Letters, digits, and ._+- inside; at most 64.
Result<> check_name(std::string_view name);
// A name for a job of this program; the same for the same arguments in the same directory, if `stable`.
std::string name_for(const std::vector<std::string>& arguments, const std::string& working_directory, bool stable);

// A directory that was claimed; it stays locked until this goes.
struct Claim {
  std::string name;
  std::string directory;
  sys::UniqueFd lock;
};
// A new directory: NAME, or with `numbered` the first free of NAME, NAME-2, NAME-3 ... A job of exactly that name that
// has ended and left no checkpoint makes room; else it is an error that says what to do.
Result<Claim> claim_job(const std::string& name, bool numbered);
// The lock of a job that is there. Fails when another holds it, and does not let it go within the time: a checkpoint
// that has stopped the job still holds it for a moment when the supervisor has ended.
inline constexpr int kLockPatience_ms = 20'000;
Result<sys::UniqueFd> lock_job(const std::string& directory, int patience_ms = 0);

// The family has been forked while it was held, and some of it still have a copy: they must not hold it any longer.
void unlock_job(sys::UniqueFd lock);

// Removes a job, whose lock the caller holds.
Result<> remove_job(const std::string& directory);
// Removes a job that has ended, unless it has a checkpoint or its name is another's by now. A checkpoint under way is
// waited for: it may become whole without its program.
Result<> forget_job(const Job& job);

// Whether the directory is what a start has left that was cut short: no job, no checkpoint, and for a minute nobody has
// made anything in it. The caller holds its lock.
Result<bool> is_cut_start(const std::string& directory);

Result<> write_job(const Job& job);
Result<Job> read_job(const std::string& directory);
// By name.
Result<Job> find_job(const std::string& name);
// The job that this process is the root of, if any.
Result<std::optional<Job>> job_of_root(Pid pid);
Result<std::vector<std::string>> list_jobs();

// Fills in the start time.
Result<Member> member(Pid pid, JobPid job_pid);
bool is_alive(const Member& member);
JobState state_of(const Job& job);
// How the root ended; nothing when it runs, or was killed with its stand-in.
std::optional<Ending> ending_of(const Job& job);
Result<> write_ending(const std::string& directory, const Ending& ending);

// A process that was started without us as a job, without name and directory.
Result<Job> look_at(Pid root);
// A process that was started without us becomes a job, named after its program: for `checkpoint PID`.
Result<Job> adopt(Pid root);

// The marker that a checkpoint stops the job, which is then killed. Who ended otherwise had gone on: the checkpoint
// itself was killed in between.
Result<> mark_stopped(const Job& job, int checkpoint);
std::optional<int> stopped_by(const std::string& directory);
// Takes away what the last run left (status, stopped), before the next one starts.
Result<> clear_ending(const std::string& directory);

// The numbers of the job's whole checkpoints, oldest first.
Result<std::vector<int>> list_checkpoints(const std::string& directory);

}  // namespace stint::job
