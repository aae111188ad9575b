// stint prune [JOB ...]: removes what checkpoints and starts that were killed have left, and pages that no checkpoint
// needs.
#include "store/prune.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "job/state.h"
#include "sys/file.h"

namespace stint::cli {
namespace {

// Nobody but a start that is under way makes a lock there: where there is none, we must not be in its way.
bool may_be_locked(const std::string& directory) {
  return sys::lstat(directory + "/job.json").has_value() || sys::lstat(directory + "/lock").has_value();
}

// An empty directory is what a job that has ended leaves over NFS (job::remove_job).
Result<store::Pruned> prune_lockless(const std::string& directory, bool dry_run) {
  bool garbage = TRY(sys::list_directory(directory)).empty() && TRY(job::is_cut_start(directory));
  if (!garbage) return store::Pruned();
  if (!dry_run) TRY(sys::rmdir(directory));
  return store::Pruned{.removed = {directory}, .freed_bytes = 0};
}

Result<store::Pruned> prune_job(const std::string& name, bool dry_run) {
  TRY(job::check_name(name));
  std::string directory = TRY(job::jobs_directory()) + "/" + name;
  if (!sys::stat(directory).has_value()) TRY(job::find_job(name));  // It says what is wrong.
  if (!may_be_locked(directory)) return prune_lockless(directory, dry_run);
  sys::UniqueFd lock = TRY(job::lock_job(directory, job::kLockPatience_ms).in("job " + name));
  store::Pruned pruned = TRY(store::prune(directory + "/checkpoints", dry_run));
  if (TRY(job::is_cut_start(directory))) {
    pruned.removed.push_back(directory);
    if (!dry_run) TRY(job::remove_job(directory));
  }
  return pruned;
}

Result<std::vector<std::string>> all_jobs() {
  std::vector<std::string> names = TRY(job::list_jobs());
  std::erase_if(names, [](const std::string& name) { return !job::check_name(name); });  // Not made by us.
  return names;
}

// It has ended meanwhile, and left nothing.
bool is_gone(const std::string& name) {
  Result<std::string> jobs = job::jobs_directory();
  return jobs && !sys::lstat(*jobs + "/" + name).has_value();
}

void print(const std::string& job, const store::Pruned& pruned, bool dry_run) {
  std::string what = pruned.removed.empty() ? "nothing" : fmt::format("{}", fmt::join(pruned.removed, ", "));
  fmt::print("{}: {} {}, {}{}\n", job, dry_run ? "would remove" : "removed", what, human_size(pruned.freed_bytes),
             dry_run ? "" : " freed");
}

}  // namespace

int prune_command(Arguments given) {
  Parser parser("prune",
                "Removes what no checkpoint needs: what was left by checkpoints and starts that were killed, and pages "
                "of forgotten checkpoints.");
  std::vector<std::string> names;
  bool dry_run = false;
  parser.add_option("JOB", names, "nothing: all jobs");
  parser.add_flag("-n,--dry-run", dry_run, "only say what would be removed");
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(given)) return *status;
  const bool named = !names.empty();
  Result<std::vector<std::string>> jobs = named ? std::move(names) : all_jobs();
  if (!jobs) return fail(jobs.error(), json);
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  Result<> all;  // The other jobs are looked at all the same.
  for (const std::string& name : *jobs) {
    Result<store::Pruned> pruned = prune_job(name, dry_run);
    if (!pruned && !named && is_gone(name)) continue;
    if (!pruned) {
      list.push_back({{"job", name}, {"message", pruned.error().text()}});
      say("stint: " + pruned.error().text());
      all = std::move(pruned).error();
      continue;
    }
    list.push_back({{"job", name}, {"removed", pruned->removed}, {"freed_bytes", pruned->freed_bytes}});
    if (!json) print(name, *pruned, dry_run);
  }
  if (json) print_json({{"jobs", list}});
  return all ? kOk : exit_of(all.error().kind());
}

}  // namespace stint::cli
