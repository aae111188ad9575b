// stint forget JOB --keep-last N ... | JOB@N ... | JOB --all
#include "store/forget.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "job/state.h"

namespace stint::cli {
namespace {

struct ForgetArguments {
  std::vector<std::string> subjects;
  store::KeepPolicy policy;
  bool all = false, dry_run = false;
};

struct LockedJob {
  job::Job job;
  sys::UniqueFd lock;
  std::vector<store::CheckpointEntry> entries;
};

Result<LockedJob> lock_and_list(const std::string& name) {
  job::Job job = TRY(job::find_job(name));
  sys::UniqueFd lock = TRY(job::lock_job(job.directory, job::kLockPatience_ms));
  store::Catalog catalog(TRY(job::jobs_directory()));
  return LockedJob{std::move(job), std::move(lock), TRY(catalog.list(name))};
}

// A stopped job is in that checkpoint and nowhere else.
std::optional<uint64_t> all_there_is(const job::Job& job) {
  if (job::state_of(job) != job::JobState::kStopped) return std::nullopt;
  std::optional<int> number = job::stopped_by(job.directory);
  return number ? std::optional(static_cast<uint64_t>(*number)) : std::nullopt;
}

Result<std::set<uint64_t>> keep(const LockedJob& locked, const store::KeepPolicy& policy, uint64_t forgotten) {
  std::optional<uint64_t> needed = all_there_is(locked.job);
  std::set<uint64_t> kept;
  if (forgotten != 0) {
    if (needed == forgotten)
      return failed(
          fmt::format("job {} is stopped, and is in checkpoint {} only: restart it first, or give it up with "
                      "`stint forget {} --all`",
                      locked.job.name, forgotten, locked.job.name));
    for (const store::CheckpointEntry& entry : locked.entries) kept.insert(entry.number);
    if (kept.erase(forgotten) == 0)
      return failed(
          fmt::format("job {} has no checkpoint {} (stint ls lists those there are)", locked.job.name, forgotten));
    return kept;
  }
  kept = store::kept_by(policy, locked.entries);
  if (!locked.entries.empty()) kept.insert(locked.entries.back().number);
  if (needed) kept.insert(*needed);
  return kept;
}

Result<store::Forgotten> forget_whole_job(const LockedJob& locked, bool dry_run) {
  job::JobState state = job::state_of(locked.job);
  if (state == job::JobState::kRunning || state == job::JobState::kUnsupervised)
    return failed(fmt::format("job {} is running: kill it first (stint kill {})", locked.job.name, locked.job.name));
  store::Forgotten forgotten;
  for (const store::CheckpointEntry& entry : locked.entries) {
    forgotten.numbers.push_back(entry.number);
    forgotten.freed_bytes += entry.stored_bytes;
  }
  if (!dry_run) TRY(job::remove_job(locked.job.directory));
  return forgotten;
}

Result<store::Forgotten> would_forget(const LockedJob& locked, const std::set<uint64_t>& kept) {
  store::Forgotten forgotten;
  for (const store::CheckpointEntry& entry : locked.entries)
    if (!kept.contains(entry.number)) forgotten.numbers.push_back(entry.number);
  return forgotten;
}

Result<store::Forgotten> forget_of(const std::string& subject, const ForgetArguments& arguments) {
  size_t at = subject.rfind('@');
  uint64_t number = 0;
  if (at != subject.npos) {
    number = TRY(store::Catalog(TRY(job::jobs_directory())).resolve(subject)).number;
    if (arguments.all || !arguments.policy.empty())
      return usage(fmt::format("{}: --all and --keep-... are for a whole job", subject));
  } else if (!arguments.all && arguments.policy.empty()) {
    return usage(
        fmt::format("which checkpoints of {}? {}@N, or what to keep (--keep-last N ...), or --all", subject, subject));
  }
  LockedJob locked = TRY(lock_and_list(subject.substr(0, at)));
  if (arguments.all) return forget_whole_job(locked, arguments.dry_run);
  std::set<uint64_t> kept = TRY(keep(locked, arguments.policy, number));
  if (arguments.dry_run) return would_forget(locked, kept);
  return store::forget(locked.job.directory + "/checkpoints", locked.entries, kept);
}

std::string list_of(const std::vector<uint64_t>& numbers) {
  return numbers.empty() ? "nothing" : fmt::format("{}", fmt::join(numbers, ", "));
}

}  // namespace

int forget_command(Arguments given) {
  Parser parser("forget", "Removes checkpoints. Those that are kept stay whole, whatever they share with the others.");
  ForgetArguments arguments;
  store::KeepPolicy& policy = arguments.policy;
  parser.add_option("JOB", arguments.subjects, "JOB@N, or with --keep-... or --all JOB")->required();
  parser.add_option("--keep-last", policy.last, "keep the newest N");
  parser.add_option("--keep-hourly", policy.hourly, "keep the newest of each of the last N hours that have one");
  parser.add_option("--keep-daily", policy.daily, "likewise of days");
  parser.add_option("--keep-weekly", policy.weekly, "likewise of weeks");
  parser.add_option("--keep-monthly", policy.monthly, "likewise of months");
  parser.add_option("--keep-yearly", policy.yearly, "likewise of years");
  parser.add_flag("--all", arguments.all, "forget the job itself, which must not run, with all its checkpoints");
  parser.add_flag("-n,--dry-run", arguments.dry_run, "only say what would be forgotten");
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(given)) return *status;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const std::string& subject : arguments.subjects) {
    Result<store::Forgotten> forgotten = forget_of(subject, arguments);
    if (!forgotten) return fail(forgotten.error(), json);
    std::string name = subject.substr(0, subject.rfind('@'));
    list.push_back({{"job", name}, {"forgotten", forgotten->numbers}, {"freed_bytes", forgotten->freed_bytes}});
    if (json) continue;
    if (arguments.dry_run)
      fmt::print("{}: would forget {}\n", name, list_of(forgotten->numbers));
    else
      fmt::print("{}: forgot {}, {} freed\n", name, list_of(forgotten->numbers), human_size(forgotten->freed_bytes));
  }
  if (json) print_json({{"jobs", list}});
  return kOk;
}

}  // namespace stint::cli
