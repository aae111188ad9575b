#include "job/state.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdlib>

#include "base/hash.h"
#include "proc/process.h"
#include "store/checkpoint_dir.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/poll.h"
#include "sys/process.h"
#include "sys/procfs.h"
#include "tracee/first_thread.h"

namespace stint::job {
namespace {

constexpr size_t kLongestName = 64;

bool may_be_in_name(char letter) {
  return std::isalnum(static_cast<unsigned char>(letter)) || std::string_view("._+-").contains(letter);
}

Result<bool> is_there(const std::string& path) {
  Result<struct stat> found = sys::lstat(path);
  if (found) return true;
  if (found.error().os_errno() == ENOENT) return false;
  return std::move(found).error();
}

// Whether the open file is still the one of that name.
Result<bool> is_file_at(const std::string& path, int fd) {
  struct stat open = TRY(sys::fstat(fd));
  Result<struct stat> named = sys::lstat(path);
  if (!named && named.error().os_errno() == ENOENT) return false;
  return TRY(std::move(named)).st_ino == open.st_ino;
}

// What set_state_directory() was given; empty for nothing.
std::string& chosen_directory() {
  static std::string directory;
  return directory;
}

Result<std::string> wanted_state_directory() {
  if (!chosen_directory().empty()) return chosen_directory();
  if (const char* home = std::getenv("STINT_HOME"); home != nullptr && *home != 0) {
    if (*home != '/') return usage(fmt::format("STINT_HOME={}: must be an absolute path", home));
    return std::string(home);
  }
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/') {
    return std::string(state) + "/stint";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return std::string(home) + "/.local/state/stint";
  }
  return usage("where to keep jobs: neither STINT_HOME, XDG_STATE_HOME nor HOME is set to an absolute path");
}

// Whether a job of this name may be forgotten without losing anything but its log.
Result<> make_room(const std::string& name, const std::string& directory) {
  std::vector<int> checkpoints = TRY(list_checkpoints(directory));
  if (!checkpoints.empty()) {
    return usage(fmt::format(
        "there is a job {} already, with {} checkpoint{}: take it up with `stint run --resume --name {}` or "
        "`stint restart {}`, or choose another name",
        name, checkpoints.size(), checkpoints.size() == 1 ? "" : "s", name, name));
  }
  Result<Job> job = read_job(directory);
  if (!job) return {};  // A start that was cut short.
  JobState state = state_of(*job);
  if (state == JobState::kRunning || state == JobState::kUnsupervised) {
    return usage(fmt::format("a job {} is running already (pid {})", name, job->root.pid.number));
  }
  return {};
}

Result<> empty_but_for_lock(const std::string& directory) {
  for (const std::string& entry : TRY(sys::list_directory(directory)))
    if (entry != "lock") TRY(sys::remove_tree(directory + "/" + entry));
  return {};
}

// The claim on one name; nothing when it is taken and `give_way`.
Result<std::optional<Claim>> claim_exactly(const std::string& jobs, const std::string& name, bool give_way) {
  std::string directory = jobs + "/" + name;
  Result<> made = sys::mkdir(directory, 0700);
  bool there = !made && made.error().os_errno() == EEXIST;
  if (!made && !there) return std::move(made).error();
  if (there && give_way) return std::optional<Claim>();
  Result<sys::UniqueFd> locked = lock_job(directory);
  if (!locked && locked.error().os_errno() == ENOENT) return claim_exactly(jobs, name, give_way);  // Just removed.
  sys::UniqueFd lock = TRY(std::move(locked));
  if (there) {
    TRY(make_room(name, directory));
    TRY(empty_but_for_lock(directory));
  }
  return std::optional<Claim>(Claim{name, directory, std::move(lock)});
}

std::optional<int> number_in(std::string_view text) {
  int number = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return text;
}

std::optional<Ending> ending_in(const std::string& directory) {
  Result<std::string> text = sys::read_whole(directory + "/status");
  if (!text) return std::nullopt;
  std::string_view line = trimmed(*text);
  bool killed = line.starts_with("killed ");
  if (!killed && !line.starts_with("exited ")) return std::nullopt;
  std::optional<int> value = number_in(line.substr(7));
  if (!value) return std::nullopt;
  return Ending{killed, *value};
}

}  // namespace

const char* name_of(JobState state) {
  switch (state) {
    case JobState::kStarting:
      return "starting";
    case JobState::kRunning:
      return "running";
    case JobState::kUnsupervised:
      return "running, no supervisor";
    case JobState::kStopped:
      return "stopped by checkpoint";
    case JobState::kEnded:
      return "ended";
    case JobState::kLost:
      return "lost";
  }
  return "unknown";
}

Result<> set_state_directory(const std::string& path) {
  if (path.empty()) return usage("--dir: an empty path");
  chosen_directory() = path.starts_with('/') ? path : TRY(sys::working_directory()) + "/" + path;
  return {};
}

Result<std::string> state_directory() {
  std::string wanted = TRY(wanted_state_directory());
  // The kernel shows the ledger that a program maps by its path without links.
  return sys::resolve_links(wanted).value_or(wanted);
}

Result<std::string> jobs_directory() { return TRY(state_directory()) + "/jobs"; }

Result<> check_name(std::string_view name) {
  bool fits = !name.empty() && name.size() <= kLongestName && name[0] != '.' && name[0] != '-' &&
              std::all_of(name.begin(), name.end(), may_be_in_name);
  // A number would be taken for a pid wherever a job or a pid may be named.
  if (!fits || number_in(name)) {
    return usage(fmt::format(
        "'{}' is no name for a job: use letters, digits and ._+- (at most {}, not a number, no . or - in front)", name,
        kLongestName));
  }
  return {};
}

std::string name_for(const std::vector<std::string>& arguments, const std::string& working_directory, bool stable) {
  std::string name = arguments[0].substr(arguments[0].rfind('/') + 1);
  std::replace_if(name.begin(), name.end(), [](char letter) { return !may_be_in_name(letter); }, '_');
  if (!check_name(name)) name = "job-" + name.substr(0, kLongestName / 2);
  if (!stable) return name.substr(0, kLongestName - 8);
  std::string all = working_directory;
  for (const std::string& argument : arguments) all += '\0' + argument;
  return fmt::format("{}-{:08x}", name.substr(0, kLongestName - 9), static_cast<uint32_t>(hash64(bytes_of(all))));
}

Result<Claim> claim_job(const std::string& name, bool numbered) {
  TRY(check_name(name));
  std::string jobs = TRY(jobs_directory());
  TRY(sys::make_directories(jobs, 0700));
  for (int number = 1;; ++number) {
    std::string candidate = number == 1 ? name : fmt::format("{}-{}", name, number);
    std::optional<Claim> claim = TRY(claim_exactly(jobs, candidate, numbered).in("job " + candidate));
    if (claim) return std::move(*claim);
  }
}

Result<sys::UniqueFd> lock_job(const std::string& directory, int patience_ms) {
  std::string path = directory + "/lock";
  constexpr int kLook_ms = 2;
  for (int waited = 0;; waited += kLook_ms) {
    sys::UniqueFd lock = TRY(sys::open(path, O_RDWR | O_CREAT, 0600));
    // Whoever held it may have removed the job: then it locks nothing.
    if (TRY(sys::try_lock(lock.get(), sys::Lock::kExclusive)) && TRY(is_file_at(path, lock.get()))) return lock;
    if (waited >= patience_ms) return failed("another stint is starting, checkpointing or restarting it just now");
    TRY(sys::poll({}, kLook_ms));
  }
}

void unlock_job(sys::UniqueFd lock) {
  // Whatever goes wrong here, it is free when the last copy is closed.
  (void)sys::unlock(lock.get());
}

Result<Job> find_job(const std::string& name) {
  TRY(check_name(name));
  std::string directory = TRY(jobs_directory()) + "/" + name;
  if (!TRY(is_there(directory))) return usage(fmt::format("no job {} (`stint ps` lists them)", name));
  if (!TRY(is_there(directory + "/job.json")))
    return failed(fmt::format("job {} is only just being started, or its start was cut off; try again", name));
  return read_job(directory);
}

Result<> remove_job(const std::string& directory) {
  TRY(empty_but_for_lock(directory));
  // From here on whoever wants the name may make a lock of its own there, and the directory stays.
  TRY(sys::unlink(directory + "/lock"));
  Result<> gone = sys::rmdir(directory);
  // It stays where somebody has done so; and over NFS, where the lock that is open has another name until it is closed.
  if (!gone && gone.error().os_errno() == ENOTEMPTY) return {};
  return gone;
}

Result<> forget_job(const Job& job) {
  sys::UniqueFd lock = TRY(lock_job(job.directory, kLockPatience_ms));
  Member stand_in = TRY(read_job(job.directory)).stand_in;
  bool ours = stand_in.pid == job.stand_in.pid && stand_in.start_time == job.stand_in.start_time;
  if (!ours || !TRY(list_checkpoints(job.directory)).empty()) return {};
  return remove_job(job.directory);
}

Result<bool> is_cut_start(const std::string& directory) {
  constexpr int64_t kStartTakes_s = 60;
  if (TRY(is_there(directory + "/job.json")) || !TRY(list_checkpoints(directory)).empty()) return false;
  return TRY(sys::lstat(directory)).st_mtime + kStartTakes_s < sys::realtime_s();
}

Result<std::vector<std::string>> list_jobs() {
  Result<std::vector<std::string>> names = sys::list_directory(TRY(jobs_directory()));
  if (!names && names.error().os_errno() == ENOENT) return std::vector<std::string>();
  return names;
}

Result<std::optional<Job>> job_of_root(Pid pid) {
  for (const std::string& name : TRY(list_jobs())) {
    Result<Job> job = find_job(name);
    if (job && job->root.pid == pid && is_alive(job->root)) return std::optional<Job>(*std::move(job));
  }
  return std::optional<Job>();
}

Result<Member> member(Pid pid, JobPid job_pid) {
  proc::Stat stat = TRY(proc::parse_stat(TRY(sys::read_proc(pid, "stat"))));
  return Member{pid, stat.starttime, job_pid};
}

bool is_alive(const Member& member) {
  if (member.pid.number == 0) return false;
  Result<std::string> text = sys::read_proc(member.pid, "stat");
  if (!text) return false;
  Result<proc::Stat> stat = proc::parse_stat(*text);
  return stat && stat->starttime == member.start_time && tracee::life_of(*stat) == tracee::Life::kLives;
}

JobState state_of(const Job& job) {
  if (is_alive(job.root)) return is_alive(job.supervisor) ? JobState::kRunning : JobState::kUnsupervised;
  if (stopped_by(job.directory)) return JobState::kStopped;
  if (ending_of(job)) return JobState::kEnded;
  // The stand-in may be just about to write how it ended.
  return is_alive(job.stand_in) ? JobState::kRunning : JobState::kLost;
}

std::optional<Ending> ending_of(const Job& job) { return ending_in(job.directory); }

Result<> write_ending(const std::string& directory, const Ending& ending) {
  std::string path = directory + "/status";
  sys::UniqueFd file = TRY(sys::open(path + ".new", O_WRONLY | O_CREAT | O_TRUNC, 0600));
  TRY(sys::write_all(file.get(), bytes_of(fmt::format("{} {}\n", ending.killed ? "killed" : "exited", ending.value))));
  return sys::rename(path + ".new", path);
}

Result<> mark_stopped(const Job& job, int checkpoint) {
  std::string path = job.directory + "/stopped";
  sys::UniqueFd file = TRY(sys::open(path + ".new", O_WRONLY | O_CREAT | O_TRUNC, 0600));
  TRY(sys::write_all(file.get(), bytes_of(fmt::format("{}\n", checkpoint))));
  return sys::rename(path + ".new", path);
}

std::optional<int> stopped_by(const std::string& directory) {
  Result<std::string> text = sys::read_whole(directory + "/stopped");
  if (!text) return std::nullopt;
  std::optional<Ending> ending = ending_in(directory);
  if (ending && !(ending->killed && ending->value == SIGKILL)) return std::nullopt;
  return number_in(trimmed(*text));
}

Result<> clear_ending(const std::string& directory) {
  for (const char* name : {"/status", "/stopped"}) {
    if (Result<> gone = sys::unlink(directory + name); !gone && gone.error().os_errno() != ENOENT) return gone;
  }
  return {};
}

Result<std::vector<int>> list_checkpoints(const std::string& directory) {
  Result<std::vector<std::string>> names = sys::list_directory(directory + "/checkpoints");
  if (!names && names.error().os_errno() == ENOENT) return std::vector<int>();
  std::vector<int> numbers;
  for (const std::string& name : TRY(std::move(names))) {
    if (uint64_t number = store::checkpoint_number(name); number != 0) numbers.push_back(static_cast<int>(number));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace stint::job
