// stint ls [JOB]: the checkpoints that there are.
#include <fmt/format.h>

#include "cli/command.h"
#include "job/state.h"
#include "store/catalog.h"
#include "sys/clock.h"

namespace stint::cli {
namespace {

Result<std::vector<store::CheckpointEntry>> entries(const std::string& job) {
  store::Catalog catalog(TRY(job::jobs_directory()));
  if (!job.empty()) {
    TRY(job::find_job(job));  // A job that is not there is a mistake, not a job without checkpoints.
    return catalog.list(job);
  }
  std::vector<store::CheckpointEntry> all;
  for (const std::string& name : TRY(catalog.jobs())) {
    for (store::CheckpointEntry& entry : TRY(catalog.list(name))) all.push_back(std::move(entry));
  }
  return all;
}

nlohmann::ordered_json json_of(const store::CheckpointEntry& entry) {
  nlohmann::ordered_json json = {
      {"job", entry.job}, {"number", entry.number}, {"path", entry.path}, {"stored_bytes", entry.stored_bytes}};
  if (entry.manifest) json["manifest"] = store::to_json(*entry.manifest);
  return json;
}

std::string line_of(const store::CheckpointEntry& entry) {
  std::string age = "-", memory = "-", pause = "-", command = "(its manifest is lost; it can still be restarted)";
  if (entry.manifest) {
    age = human_time(sys::realtime_s() - entry.manifest->created_ns / 1'000'000'000) + " ago";
    memory = human_size(entry.manifest->memory_bytes);
    pause = fmt::format("{:.1f} ms", static_cast<double>(entry.manifest->pause_ns) / 1e6);
    command = entry.manifest->command;
  }
  return fmt::format("{:<24} {:>16} {:>10} {:>10} {:>10}  {}\n", fmt::format("{}@{}", entry.job, entry.number), age,
                     memory, human_size(entry.stored_bytes), pause, command);
}

}  // namespace

int ls_command(Arguments arguments) {
  Parser parser("ls", "Lists the checkpoints.");
  std::string job;
  parser.add_option("JOB", job, "only those of this job");
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(arguments)) return *status;
  Result<std::vector<store::CheckpointEntry>> found = entries(job);
  if (!found) return fail(found.error(), json);
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  std::string table = fmt::format("{:<24} {:>16} {:>10} {:>10} {:>10}  {}\n", "CHECKPOINT", "TAKEN", "MEMORY", "STORED",
                                  "PAUSED", "COMMAND");
  for (const store::CheckpointEntry& entry : *found) {
    list.push_back(json_of(entry));
    table += line_of(entry);
  }
  if (json)
    print_json({{"checkpoints", list}});
  else
    fmt::print("{}", table);
  return kOk;
}

}  // namespace stint::cli
