// stint show JOB[@N] | CHECKPOINT [--memory] [--fds] [--files] [--threads]: what a checkpoint holds.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "cli/command.h"
#include "image/file_records.h"
#include "image/record_kinds.h"
#include "image/task_records.h"
#include "job/state.h"
#include "store/catalog.h"
#include "store/reader.h"
#include "store/records.h"
#include "store/show.h"
#include "sys/clock.h"

namespace stint::cli {
namespace {

Result<> print_job(const image::Source& source) {
  for (const image::JobRecord& job : TRY(store::all_of<image::JobRecord>(source, image::RecordType::kJob))) {
    std::string command;
    for (const std::string& word : job.arguments) command += (command.empty() ? "" : " ") + word;
    fmt::print("job        {}, generation {}, {}\n", job.name, job.generation, job.contained ? "contained" : "plain");
    fmt::print("command    {}\n", command);
    fmt::print("directory  {}\n", job.directory);
    fmt::print("taken      {} ago on {}, Linux {}, by stint {}\n",
               human_time(sys::realtime_s() - job.realtime_ns / 1'000'000'000), job.host, job.kernel_release,
               job.stint_version);
  }
  for (const image::ProcessRecord& process :
       TRY(store::all_of<image::ProcessRecord>(source, image::RecordType::kProcess))) {
    fmt::print("process    {} ({}), parent {}, user {}\n", process.pid, process.exe, process.ppid,
               process.uids.empty() ? 0 : process.uids[0]);
  }
  std::vector<image::ThreadRecord> threads =
      TRY(store::all_of<image::ThreadRecord>(source, image::RecordType::kThread));
  fmt::print("threads    {}\n", threads.size());
  for (const image::FileStateRecord& file :
       TRY(store::all_of<image::FileStateRecord>(source, image::RecordType::kFileState))) {
    fmt::print("file       {}{}, {}{}\n", file.path, file.unlinked ? " (removed)" : "", human_size(file.size),
               file.written ? ", written" : "");
  }
  for (const image::ClosedEndRecord& closed :
       TRY(store::all_of<image::ClosedEndRecord>(source, image::RecordType::kClosedEnd)))
    fmt::print("closed     {}\n", closed_line(closed));
  return {};
}

Result<> print_counts(const image::Source& source) {
  std::map<std::string, int> kinds;
  for (const image::Record& record : source.records()) {
    const image::RecordKind* kind = image::find_kind(static_cast<uint32_t>(record.type));
    ++kinds[kind != nullptr ? kind->name : "unknown"];
  }
  std::string line;
  for (const auto& [kind, count] : kinds) line += fmt::format("{}{} {}", line.empty() ? "" : ", ", count, kind);
  fmt::print("records    {}\n", line);
  return {};
}

// A part of a checkpoint that can be asked for.
struct Part {
  const char* name;
  const char* summary;
  Result<std::string> (*table)(const store::Reader&);
  Result<nlohmann::ordered_json> (*json)(const store::Reader&);
};
constexpr std::array<Part, 4> kParts = {{
    {"memory", "every mapping: object, segment, and how much is mapped, changed and saved", store::memory_table,
     store::memory_json},
    {"fds", "every descriptor, and what is behind it", store::fds_table, store::fds_json},
    {"files", "every file that is mapped or open", store::files_table, store::files_json},
    {"threads", "every thread: where it stood, and how it goes on", store::threads_table, store::threads_json},
}};
using Wanted = std::array<bool, kParts.size()>;

Result<> print_parts(const store::Reader& reader, const Wanted& wanted, bool json) {
  nlohmann::ordered_json object{{"checkpoint", reader.directory()}};
  std::string text;
  for (size_t i = 0; i < kParts.size(); ++i) {
    if (!wanted[i]) continue;
    if (json)
      object[kParts[i].name] = TRY(kParts[i].json(reader));
    else
      text += (text.empty() ? "" : "\n") + TRY(kParts[i].table(reader));
  }
  if (json)
    print_json(object);
  else
    fmt::print("{}", text);
  return {};
}

Result<> show(const std::string& named, const Wanted& wanted, bool json) {
  store::Catalog catalog(TRY(job::jobs_directory()));
  store::CheckpointEntry entry = TRY(catalog.resolve(named));
  std::unique_ptr<store::Reader> reader = TRY(store::Reader::open(entry.path));
  if (std::ranges::find(wanted, true) != wanted.end()) return print_parts(*reader, wanted, json);
  if (json) {
    print_json(TRY(store::show_json(*reader)));
    return {};
  }
  TRY(print_job(*reader));
  return print_counts(*reader);
}

}  // namespace

int show_command(Arguments arguments) {
  Parser parser("show", "Shows what a checkpoint holds.");
  std::string named;
  Wanted wanted{};
  parser.add_option("CHECKPOINT", named, "JOB (its newest), JOB@N, or a checkpoint's directory")->required();
  for (size_t i = 0; i < kParts.size(); ++i)
    parser.add_flag(std::string("--") + kParts[i].name, wanted[i], kParts[i].summary);
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(arguments)) return *status;
  Result<> shown = show(named, wanted, json);
  return shown ? kOk : fail(shown.error(), json);
}

}  // namespace stint::cli
