// stint ps: every job, alive or not.
#include <fmt/format.h>

#include "cli/command.h"
#include "job/state.h"
#include "sys/clock.h"
#include "sys/file.h"

namespace stint::cli {
namespace {

struct Row {
  job::Job job;
  job::JobState state = job::JobState::kStarting;
  std::optional<job::Ending> ending;
  std::vector<int> checkpoints;
  uint64_t last_size = 0;
  int64_t last_age = 0;  // seconds
};

Result<Row> row_of(const std::string& name, const std::string& directory) {
  Row row;
  row.job.name = name;
  row.job.directory = directory;
  Result<job::Job> job = job::read_job(directory);
  if (job) {
    row.job = *std::move(job);
    row.state = job::state_of(row.job);
    row.ending = job::ending_of(row.job);
  }
  row.checkpoints = TRY(job::list_checkpoints(directory));
  if (row.checkpoints.empty()) return row;
  std::string last = fmt::format("{}/checkpoints/{}", directory, row.checkpoints.back());
  for (const std::string& file : TRY(sys::list_directory(last))) {
    struct stat found = TRY(sys::stat(last + "/" + file));
    row.last_size += static_cast<uint64_t>(found.st_size);
  }
  row.last_age = sys::realtime_s() - TRY(sys::stat(last)).st_mtim.tv_sec;
  return row;
}

bool runs(job::JobState state) { return state == job::JobState::kRunning || state == job::JobState::kUnsupervised; }

std::string state_text(const Row& row) {
  if (row.state != job::JobState::kEnded || !row.ending) return job::name_of(row.state);
  return fmt::format("{} {}", row.ending->killed ? "killed" : "exited", row.ending->value);
}

nlohmann::ordered_json json_of(const Row& row) {
  nlohmann::ordered_json json = {{"name", row.job.name}, {"state", job::name_of(row.state)}};
  if (runs(row.state)) json["pid"] = row.job.root.pid.number;
  if (runs(row.state)) json["job_pid"] = row.job.root.job_pid.number;
  if (row.ending) json[row.ending->killed ? "signal" : "exit_status"] = row.ending->value;
  json["contained"] = row.job.contained;
  json["started"] = row.job.started;
  json["arguments"] = row.job.arguments;
  json["working_directory"] = row.job.working_directory;
  json["directory"] = row.job.directory;
  json["checkpoints"] = row.checkpoints;
  if (!row.checkpoints.empty()) {
    json["last_checkpoint"] = {{"bytes", row.last_size}, {"age_seconds", row.last_age}};
  }
  return json;
}

std::string line_of(const Row& row) {
  std::string pid = runs(row.state) ? std::to_string(row.job.root.pid.number) : "-";
  std::string up = runs(row.state) ? human_time(sys::realtime_s() - row.job.started) : "-";
  std::string last = "-";
  if (!row.checkpoints.empty()) {
    last = fmt::format("{} ago, {}", human_time(row.last_age), human_size(row.last_size));
  }
  return fmt::format("{:<20} {:<22} {:>8} {:>12} {:>11}  {}\n", row.job.name, state_text(row), pid, up,
                     row.checkpoints.size(), last);
}

}  // namespace

int ps_command(Arguments arguments) {
  Parser parser("ps", "Lists the jobs.");
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(arguments)) return *status;
  Result<std::vector<std::string>> names = job::list_jobs();
  if (!names) return fail(names.error(), json);
  Result<std::string> jobs = job::jobs_directory();
  if (!jobs) return fail(jobs.error(), json);
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  std::string table =
      fmt::format("{:<20} {:<22} {:>8} {:>12} {:>11}  {}\n", "NAME", "STATE", "PID", "UP", "CHECKPOINTS", "LAST");
  for (const std::string& name : *names) {
    Result<Row> row = row_of(name, *jobs + "/" + name);
    if (!row && row.error().os_errno() == ENOENT) continue;  // It has just ended and was forgotten.
    if (!row) return fail(std::move(row).error().in("job " + name), json);
    list.push_back(json_of(*row));
    table += line_of(*row);
  }
  if (json)
    print_json({{"jobs", list}});
  else
    fmt::print("{}", table);
  return kOk;
}

}  // namespace stint::cli
