// stint show JOB[@N] | CHECKPOINT [--memory]: what a checkpoint holds.
#include <fmt/format.h>

#include <map>

#include "cli/command.h"
#include "image/file_records.h"
#include "image/memory_records.h"
#include "image/record_kinds.h"
#include "image/task_records.h"
#include "job/state.h"
#include "store/catalog.h"
#include "store/reader.h"
#include "sys/clock.h"

namespace stint::cli {
namespace {

Result<nlohmann::ordered_json> json_of(const image::Record& record) {
  const image::RecordKind* kind = image::find_kind(static_cast<uint32_t>(record.type));
  if (kind == nullptr) return nlohmann::ordered_json{{"number", static_cast<uint32_t>(record.type)}};
  return nlohmann::ordered_json{{"record", kind->name}, {"fields", TRY(kind->to_json(record.payload))}};
}

// All records of one type.
template <class R>
Result<std::vector<R>> all_of(const image::Source& source, image::RecordType type) {
  std::vector<R> found;
  for (const image::Record& record : source.records()) {
    if (record.type == type) found.push_back(TRY(image::decode<R>(record.payload)));
  }
  return found;
}

// What a mapping is called in the table, without the directory.
std::string object_of(const image::VmaRecord& mapping) {
  if (mapping.name.empty()) return mapping.shared ? "(shared memory)" : "(anonymous)";
  return mapping.name.substr(mapping.name.rfind('/') + 1);
}

std::string rights_of(const image::VmaRecord& mapping) {
  std::string rights = "---p";
  if ((mapping.prot & 1) != 0) rights[0] = 'r';
  if ((mapping.prot & 2) != 0) rights[1] = 'w';
  if ((mapping.prot & 4) != 0) rights[2] = 'x';
  if (mapping.shared) rights[3] = 's';
  return rights;
}

Result<> print_memory(const image::Source& source) {
  uint64_t mapped = 0, changed = 0, saved = 0;
  fmt::print("{:<34} {:<8} {:<5} {:<27} {:>10} {:>10} {:>10}\n", "OBJECT", "SEGMENT", "PROT", "ADDRESS", "MAPPED",
             "CHANGED", "SAVED");
  for (const image::VmaRecord& mapping : TRY(all_of<image::VmaRecord>(source, image::RecordType::kVma))) {
    uint64_t size = mapping.end - mapping.start;
    fmt::print("{:<34} {:<8} {:<5} {:012x}-{:012x}   {:>10} {:>10} {:>10}\n", object_of(mapping), mapping.segment,
               rights_of(mapping), mapping.start, mapping.end, human_size(size), human_size(mapping.changed),
               human_size(mapping.saved));
    mapped += size;
    changed += mapping.changed;
    saved += mapping.saved;
  }
  fmt::print("{:<77} {:>10} {:>10} {:>10}\n", "all", human_size(mapped), human_size(changed), human_size(saved));
  return {};
}

Result<> print_job(const image::Source& source) {
  for (const image::JobRecord& job : TRY(all_of<image::JobRecord>(source, image::RecordType::kJob))) {
    std::string command;
    for (const std::string& word : job.arguments) command += (command.empty() ? "" : " ") + word;
    fmt::print("job        {}, generation {}, {}\n", job.name, job.generation, job.contained ? "contained" : "plain");
    fmt::print("command    {}\n", command);
    fmt::print("directory  {}\n", job.directory);
    fmt::print("taken      {} ago on {}, Linux {}, by stint {}\n",
               human_time(sys::realtime_s() - job.realtime_ns / 1'000'000'000), job.host, job.kernel_release,
               job.stint_version);
  }
  for (const image::ProcessRecord& process : TRY(all_of<image::ProcessRecord>(source, image::RecordType::kProcess))) {
    fmt::print("process    {} ({}), parent {}, user {}\n", process.pid, process.exe, process.ppid,
               process.uids.empty() ? 0 : process.uids[0]);
  }
  std::vector<image::ThreadRecord> threads = TRY(all_of<image::ThreadRecord>(source, image::RecordType::kThread));
  fmt::print("threads    {}\n", threads.size());
  for (const image::FileStateRecord& file :
       TRY(all_of<image::FileStateRecord>(source, image::RecordType::kFileState))) {
    fmt::print("file       {}{}, {}{}\n", file.path, file.unlinked ? " (removed)" : "", human_size(file.size),
               file.written ? ", written" : "");
  }
  return {};
}

Result<> show(const std::string& named, bool memory, bool json) {
  store::Catalog catalog(TRY(job::jobs_directory()));
  store::CheckpointEntry entry = TRY(catalog.resolve(named));
  std::unique_ptr<store::Reader> reader = TRY(store::Reader::open(entry.path));
  if (!json) {
    TRY(memory ? print_memory(*reader) : print_job(*reader));
    if (memory) return {};
    std::map<std::string, int> kinds;
    for (const image::Record& record : reader->records()) {
      const image::RecordKind* kind = image::find_kind(static_cast<uint32_t>(record.type));
      ++kinds[kind != nullptr ? kind->name : "unknown"];
    }
    std::string line;
    for (const auto& [kind, count] : kinds) line += fmt::format("{}{} {}", line.empty() ? "" : ", ", count, kind);
    fmt::print("records    {}\n", line);
    return {};
  }
  nlohmann::ordered_json records = nlohmann::ordered_json::array();
  for (const image::Record& record : reader->records()) {
    if (memory && record.type != image::RecordType::kVma) continue;
    records.push_back(TRY(json_of(record)));
  }
  print_json({{"path", entry.path}, {"records", records}});
  return {};
}

}  // namespace

int show_command(Arguments arguments) {
  Parser parser("show", "Shows what a checkpoint holds.");
  std::string named;
  bool memory = false;
  parser.add_option("CHECKPOINT", named, "JOB (its newest), JOB@N, or a checkpoint's directory")->required();
  parser.add_flag("--memory", memory, "every mapping: object, segment, and how much is mapped, changed and saved");
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(arguments)) return *status;
  Result<> shown = show(named, memory, json);
  return shown ? kOk : fail(shown.error(), json);
}

}  // namespace stint::cli
