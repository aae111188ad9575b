// stint logs, wait, kill: what one does to a job without stopping to look into it.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <array>

#include "cli/command.h"
#include "job/state.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/poll.h"
#include "sys/process.h"
#include "sys/signal.h"

namespace stint::cli {
namespace {

// A pidfd of a member of the family that is alive; nothing when it has ended.
Result<std::optional<sys::UniqueFd>> open_member(const job::Member& member) {
  if (member.pid.number == 0) return std::optional<sys::UniqueFd>();
  Result<sys::UniqueFd> pidfd = sys::pidfd_open(member.pid.number);
  if (!pidfd && pidfd.error().os_errno() == ESRCH) return std::optional<sys::UniqueFd>();
  if (!pidfd) return std::move(pidfd).error();
  // Only after opening: now the number cannot become another's unnoticed.
  if (!job::is_alive(member)) return std::optional<sys::UniqueFd>();
  return std::optional<sys::UniqueFd>(*std::move(pidfd));
}

// True when the process has ended within the time; -1 waits for ever.
Result<bool> wait_for(const sys::UniqueFd& pidfd, int timeout_ms) {
  pollfd watched = {pidfd.get(), POLLIN, 0};
  return sys::poll({&watched, 1}, timeout_ms);
}

constexpr int kWriting_ms = 2000;  // what a stand-in may take to write the status of a root that is dead

Result<> kill_job(const std::string& name, int signal) {
  job::Job job = TRY(job::find_job(name));
  std::optional<sys::UniqueFd> root = TRY(open_member(job.root));
  std::optional<sys::UniqueFd> init = TRY(open_member(job.init));
  if (!root && !init) return failed(fmt::format("job {} does not run: {}", name, job::name_of(job::state_of(job))));
  if (root) TRY(sys::pidfd_signal(root->get(), signal));
  if (signal != SIGKILL) {
    if (!root)
      return failed(fmt::format(
          "job {}: its program has ended, only what it left behind runs; `stint kill -s KILL` ends that", name));
    return {};
  }
  // Of a contained job nobody is left behind: with its init go all the others. First the stand-in writes down the end.
  if (!init) return {};
  std::optional<sys::UniqueFd> stand_in = TRY(open_member(job.stand_in));
  int64_t until = sys::monotonic_ms() + kWriting_ms;
  while (root && stand_in && !job::ending_of(job) && sys::monotonic_ms() < until) {
    if (TRY(wait_for(*stand_in, 2))) break;
  }
  Result<> killed = sys::pidfd_signal(init->get(), SIGKILL);
  if (!killed && killed.error().os_errno() != ESRCH) return killed;
  return {};
}

Result<int> wait_job(const std::string& name) {
  job::Job job = TRY(job::find_job(name));
  std::optional<sys::UniqueFd> root = TRY(open_member(job.root));
  if (root) TRY(wait_for(*root, -1));
  // The status comes from the stand-in, a moment after the end.
  std::optional<sys::UniqueFd> stand_in = TRY(open_member(job.stand_in));
  int64_t until = sys::monotonic_ms() + kWriting_ms;
  while (stand_in && !job::ending_of(job) && sys::monotonic_ms() < until) {
    if (TRY(wait_for(*stand_in, 2))) break;
  }
  if (job::stopped_by(job.directory)) return 85;
  std::optional<job::Ending> ending = job::ending_of(job);
  if (ending) return ending->exit_status();
  if (!root)
    return failed(
        fmt::format("job {} is gone without a word: killed with its stand-in, or the system went down", name));
  // Its supervisor has passed the status on and the job is forgotten, or it was killed with its stand-in.
  return failed(fmt::format("job {} has ended; its exit status went to the supervisor that ran it", name));
}

Result<> print_log(const std::string& name, bool follow) {
  job::Job job = TRY(job::find_job(name));
  Result<sys::UniqueFd> log = sys::open(job.directory + "/log", O_RDONLY);
  if (!log && log.error().os_errno() == ENOENT) {
    return failed(fmt::format("job {} has no log: somebody took all of its output", name));
  }
  sys::UniqueFd file = TRY(std::move(log));
  std::array<std::byte, 65536> buffer;
  for (;;) {
    // Asked before reading: what it wrote before its end is then surely there.
    bool alive = job::is_alive(job.stand_in);
    size_t size = TRY(sys::read(file.get(), buffer));
    if (size > 0) TRY(sys::write_all(1, {buffer.data(), size}));
    if (size > 0) continue;
    if (!follow || !alive) return {};
    TRY(sys::poll({}, 100));
  }
}

// The one positional of these commands.
struct JobArgument {
  explicit JobArgument(Parser& parser) {
    parser.add_option("JOB", name, "its name, as `stint ps` shows it")->required();
  }
  std::string name;
};

}  // namespace

int kill_command(Arguments arguments) {
  Parser parser("kill", "Sends a signal to a job's program; KILL ends all of a contained job.");
  JobArgument job(parser);
  std::string signal = "TERM";
  parser.add_option("-s,--signal", signal, "which: TERM if none is given");
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(arguments)) return *status;
  Result<int> number = sys::signal_number(signal);
  if (!number) return fail(number.error(), json);
  Result<> killed = kill_job(job.name, *number);
  if (!killed) return fail(killed.error(), json);
  if (json)
    print_json({{"job", job.name}, {"signal", *number}});
  else
    say(fmt::format("sent {} to {}", sys::signal_name(*number), job.name));
  return kOk;
}

int wait_command(Arguments arguments) {
  Parser parser("wait", "Waits for the end of a job and exits as its program did.");
  JobArgument job(parser);
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(arguments)) return *status;
  Result<int> ended = wait_job(job.name);
  if (!ended) return fail(ended.error(), json);
  if (json) print_json({{"job", job.name}, {"exit_status", *ended}});
  return *ended;
}

int logs_command(Arguments arguments) {
  Parser parser("logs", "Shows what a job wrote when nobody was there to take it.");
  JobArgument job(parser);
  bool follow = false;
  parser.add_flag("-f,--follow", follow, "go on until the job ends");
  if (std::optional<int> status = parser.read(arguments)) return *status;
  Result<> printed = print_log(job.name, follow);
  return printed ? kOk : fail(printed.error(), false);
}

}  // namespace stint::cli
