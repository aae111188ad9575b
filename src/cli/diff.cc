// stint diff A B: what changed between two checkpoints.
#include "store/diff.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "cli/command.h"
#include "job/state.h"
#include "store/catalog.h"
#include "store/table.h"

namespace stint::cli {
namespace {

using store::Change;
using store::name_of;
using store::Table;

std::string titled(const char* title, const Table& table) {
  return table.empty() ? "" : fmt::format("{}\n{}\n", title, table.text());
}

std::string processes_table(const store::Diff& diff) {
  Table table({"CHANGE", "PID", "TID", "WAS", "NOW"}, {false, true, true, false, false});
  for (const store::ProcessChange& process : diff.processes)
    table.add({name_of(process.change), fmt::format("{}", process.pid), "", store::printable(process.was),
               store::printable(process.now)});
  for (const store::ThreadChange& thread : diff.threads) {
    std::string name = store::printable(thread.name);
    table.add({name_of(thread.change), fmt::format("{}", thread.pid), fmt::format("{}", thread.tid),
               thread.change == Change::kGone ? name : "", thread.change == Change::kNew ? name : ""});
  }
  return titled("Processes and threads", table);
}

// The processes that are in one checkpoint only: of these, one line for all mappings is enough.
std::set<int32_t> comers_and_goers(const store::Diff& diff) {
  std::set<int32_t> pids;
  for (const store::ProcessChange& process : diff.processes)
    if (process.change != Change::kChanged) pids.insert(process.pid);
  return pids;
}

// Bytes, and by how much it has grown or shrunk.
std::string size_text(const store::MappingChange& mapping) {
  uint64_t was = mapping.was.size(), now = mapping.now.size();
  if (mapping.change != Change::kChanged || was == now) return store::kib(mapping.change == Change::kGone ? was : now);
  return fmt::format("{} -> {}", store::kib(was), store::kib(now));
}

std::string protection_text(const store::MappingChange& mapping) {
  if (mapping.change == Change::kGone) return mapping.protection_was;
  if (mapping.change == Change::kNew || mapping.protection_was == mapping.protection_now) return mapping.protection_now;
  return mapping.protection_was + " -> " + mapping.protection_now;
}

std::string memory_table(const store::Diff& diff) {
  Table table({"CHANGE", "PID", "START", "PROT", "OBJECT", "SEGMENT", "KIB", "NEW", "CHANGED", "GONE"},
              {false, true, true, false, false, false, true, true, true, true});
  std::set<int32_t> summed = comers_and_goers(diff);
  struct Sum {
    Change change = Change::kNew;
    uint64_t mappings = 0, size = 0;
    store::PageChanges pages;
  };
  std::map<int32_t, Sum> sums;
  for (const store::MappingChange& mapping : diff.mappings) {
    if (summed.contains(mapping.pid)) {
      Sum& sum = sums[mapping.pid];
      sum.change = mapping.change, ++sum.mappings, sum.size += mapping.was.size() + mapping.now.size();
      sum.pages += mapping.pages;
      continue;
    }
    uint64_t start = mapping.change == Change::kGone ? mapping.was.start : mapping.now.start;
    table.add({name_of(mapping.change), fmt::format("{}", mapping.pid), fmt::format("{:x}", start),
               protection_text(mapping), store::printable(mapping.name), store::printable(mapping.segment),
               size_text(mapping), store::kib(mapping.pages.added), store::kib(mapping.pages.changed),
               store::kib(mapping.pages.gone)});
  }
  for (const auto& [pid, sum] : sums)
    table.add({name_of(sum.change), fmt::format("{}", pid), "", "", fmt::format("all {} mappings", sum.mappings), "",
               store::kib(sum.size), store::kib(sum.pages.added), store::kib(sum.pages.changed),
               store::kib(sum.pages.gone)});
  return titled("Memory, in KiB", table);
}

// "position 4096 -> 8192, flags": what of a descriptor changed.
std::string changes_text(const store::DescriptorChange& descriptor) {
  std::string text;
  if (descriptor.change != Change::kChanged) return text;
  if (descriptor.position_was != descriptor.position_now)
    text = fmt::format("position {} -> {}", descriptor.position_was.value_or(0), descriptor.position_now.value_or(0));
  for (const std::string& field : descriptor.fields)
    text += fmt::format("{}{}", text.empty() ? "" : ", ", field == "description" ? "flags" : field);
  return text;
}

std::string descriptors_table(const store::Diff& diff) {
  Table table({"CHANGE", "PID", "FD", "KIND", "BEHIND IT", "WHAT CHANGED"}, {false, true, true, false, false, false});
  for (const store::DescriptorChange& descriptor : diff.descriptors)
    table.add({name_of(descriptor.change), fmt::format("{}", descriptor.pid), fmt::format("{}", descriptor.fd),
               descriptor.kind, descriptor.what, changes_text(descriptor)});
  return titled("Descriptors", table);
}

std::string files_table(const store::Diff& diff) {
  Table table({"CHANGE", "SIZE", "PATH"}, {false, true, false});
  for (const store::FileChange& file : diff.files) {
    uint64_t size = file.change == Change::kGone ? file.size_was : file.size_now;
    bool grown = file.change == Change::kChanged && file.size_was != file.size_now;
    table.add({name_of(file.change), grown ? fmt::format("{} -> {}", file.size_was, size) : fmt::format("{}", size),
               store::printable(file.path) + (file.unlinked ? " (unlinked)" : "")});
  }
  return titled("Open files", table);
}

std::string objects_table(const store::Diff& diff) {
  Table table({"CHANGE", "OBJECT"}, {false, false});
  for (const store::ObjectChange& object : diff.objects)
    table.add({name_of(object.change), store::printable(object.name)});
  return titled("Objects", table);
}

std::string text_of(const store::Diff& diff) {
  return processes_table(diff) + memory_table(diff) + descriptors_table(diff) + files_table(diff) +
         objects_table(diff) +
         fmt::format("memory saved in both: {} changed, {} the same; {} new, {} gone\n", human_size(diff.pages.changed),
                     human_size(diff.pages.same), human_size(diff.pages.added), human_size(diff.pages.gone));
}

Result<> print_diff(const std::string& was, const std::string& now, bool json) {
  store::Catalog catalog(TRY(job::jobs_directory()));
  std::unique_ptr<store::Reader> from = TRY(store::Reader::open(TRY(catalog.resolve(was)).path));
  std::unique_ptr<store::Reader> to = TRY(store::Reader::open(TRY(catalog.resolve(now)).path));
  store::Diff diff = TRY(store::diff(*from, *to));
  if (json) {
    nlohmann::ordered_json object{{"from", from->directory()}, {"to", to->directory()}};
    object.update(store::to_json(diff));
    print_json(object);
  } else {
    fmt::print("{}", text_of(diff));
  }
  return {};
}

}  // namespace

int diff_command(Arguments given) {
  Parser parser("diff", "Shows what changed from one checkpoint to another.");
  std::string was, now;
  parser.add_option("FROM", was, "JOB (its newest), JOB@N, or a checkpoint's directory")->required();
  parser.add_option("TO", now, "likewise")->required();
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(given)) return *status;
  Result<> printed = print_diff(was, now, json);
  return printed ? kOk : fail(printed.error(), json);
}

}  // namespace stint::cli
