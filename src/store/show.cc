#include "store/show.h"

#include <fmt/format.h>
#include <sys/user.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "image/fd_records.h"
#include "image/file_records.h"
#include "image/json.h"
#include "image/memory_records.h"
#include "image/record_kinds.h"
#include "image/task_records.h"
#include "store/records.h"
#include "store/table.h"

namespace stint::store {
namespace {

using Json = nlohmann::ordered_json;
using image::RecordType;

Result<Json> json_of(const image::Record& record) {
  const image::RecordKind* kind = image::find_kind(static_cast<uint32_t>(record.type));
  CHECK(kind != nullptr);  // The stream's decoder leaves no others.
  Json json{{"type", kind->name}};
  json.update(TRY(kind->to_json(record.payload)));
  return json;
}

Result<Json> json_of_types(const Reader& reader, std::initializer_list<RecordType> types) {
  Json list = Json::array();
  for (const image::Record& record : reader.records())
    if (std::find(types.begin(), types.end(), record.type) != types.end()) list.push_back(TRY(json_of(record)));
  return list;
}

// The records of open file descriptions, by their id.
Result<std::map<uint64_t, Json>> descriptions(const Reader& reader) {
  std::map<uint64_t, Json> by_id;
  for (const image::Record& record : reader.records()) {
    if (!is_description(record.type)) continue;
    Json json = TRY(json_of(record));
    by_id.emplace(json.at("description").at("id").get<uint64_t>(), std::move(json));
  }
  return by_id;
}

Json pages_json(const Reader& reader) {
  struct Space {
    uint64_t blocks = 0, bytes = 0, zero = 0, stored = 0;
  };
  std::map<uint64_t, Space> spaces;
  for (const image::StoredBlock& block : reader.index().blocks) {
    Space& space = spaces[block.space];
    ++space.blocks;
    space.stored += block.stored_size;
    for (const image::StoredRun& run : block.runs) {
      space.bytes += run.size;
      if (block.storage == image::Storage::kZero) space.zero += run.size;
    }
  }
  Json list = Json::array();
  for (const auto& [number, space] : spaces)
    list.push_back({{"space", number},
                    {"blocks", space.blocks},
                    {"bytes", space.bytes},
                    {"zero_bytes", space.zero},
                    {"stored_bytes", space.stored}});
  return list;
}

// The call that the thread was in when it stopped: number, or nothing. And where it stood.
std::pair<std::string, std::string> position_of(const image::ThreadRecord& thread) {
  user_regs_struct registers;
  if (thread.registers.size() != sizeof(registers)) return {};
  std::memcpy(&registers, thread.registers.data(), sizeof(registers));
  bool in_call = static_cast<int64_t>(registers.orig_rax) >= 0;
  return {fmt::format("{:x}", registers.rip), in_call ? fmt::format("{}", registers.orig_rax) : "-"};
}

std::string resumption_of(const image::ThreadRecord& thread) {
  if (thread.ended) return fmt::format("has ended, status {}", thread.exit_status);
  const image::ResumeCall& resume = thread.resume;
  std::string left = resume.time_left_ns < 0 ? "" : fmt::format(", {} ms left", resume.time_left_ns / 1'000'000);
  switch (resume.kind) {
    case image::ResumeKind::kAsIs:
      return "as it is";
    case image::ResumeKind::kReissue:
      return fmt::format("call {} made again{}", resume.nr, left);
    case image::ResumeKind::kContinue:
      return fmt::format("call {} finished, {} bytes are done{}", resume.nr, resume.done, left);
  }
  return "";
}

}  // namespace

std::string describe(const Json& description) {
  std::string text;
  for (const char* name : {"path", "what", "pipe", "socket", "peer", "count", "clock", "position", "shared_memory"}) {
    auto found = description.find(name);
    if (found == description.end()) continue;
    std::string value = found->is_string() ? printable(found->get<std::string>()) : found->dump();
    if (!value.empty()) text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, value);
  }
  return text;
}

Result<Json> show_json(const Reader& reader) {
  Json records = Json::array();
  for (const image::Record& record : reader.records()) records.push_back(TRY(json_of(record)));
  return Json{{"checkpoint", reader.directory()}, {"records", std::move(records)}, {"pages", pages_json(reader)}};
}

Result<Json> memory_json(const Reader& reader) {
  return json_of_types(reader, {RecordType::kVma, RecordType::kSharedMemory});
}

Result<std::string> memory_table(const Reader& reader) {
  Table table({"START", "END", "PROT", "OBJECT", "SEGMENT", "MAPPED", "CHANGED", "SAVED"},
              {true, true, false, false, false, true, true, true});
  uint64_t mapped = 0, changed = 0, saved = 0;
  std::vector<image::VmaRecord> vmas = TRY(all_of<image::VmaRecord>(reader, RecordType::kVma));
  for (const image::VmaRecord& vma : vmas) {
    uint64_t size = vma.end > vma.start ? vma.end - vma.start : 0;
    table.add({fmt::format("{:x}", vma.start), fmt::format("{:x}", vma.end), protection_text(vma.prot, vma.shared),
               printable(vma.name), printable(vma.segment), kib(size), kib(vma.changed), kib(vma.saved)});
    mapped += size;
    changed += vma.changed;
    saved += vma.saved;
  }
  table.add({"", "", "", fmt::format("{} mappings, KiB", vmas.size()), "", kib(mapped), kib(changed), kib(saved)});
  return table.text();
}

Result<Json> files_json(const Reader& reader) {
  return json_of_types(reader, {RecordType::kMappedFile, RecordType::kFileState});
}

Result<std::string> files_table(const Reader& reader) {
  Table table({"USE", "SIZE", "CONTENT", "KNOWN BY", "PATH"}, {false, true, false, false, false});
  for (const image::MappedFileRecord& file : TRY(all_of<image::MappedFileRecord>(reader, RecordType::kMappedFile)))
    table.add({"mapped", fmt::format("{}", file.size), file.content_space != 0 ? "in the checkpoint" : "-",
               file.build_id.empty() ? "content" : "build-id " + printable(file.build_id), printable(file.path)});
  for (const image::FileStateRecord& file : TRY(all_of<image::FileStateRecord>(reader, RecordType::kFileState)))
    table.add({file.written ? "written" : "read", fmt::format("{}", file.size),
               file.content_space != 0 ? "in the checkpoint" : "-", file.content ? "content" : "size and times",
               printable(file.path) + (file.unlinked ? " (unlinked)" : "")});
  return table.text();
}

namespace {

// Of descriptors whose other end was outside, and counts as gone (--external=close), by process and number: what each
// was.
Result<std::map<std::pair<int32_t, int32_t>, std::string>> closed_ends(const Reader& reader) {
  std::map<std::pair<int32_t, int32_t>, std::string> closed;
  for (image::ClosedEndRecord& record : TRY(all_of<image::ClosedEndRecord>(reader, RecordType::kClosedEnd)))
    closed[{record.pid, record.fd}] = std::move(record.what);
  return closed;
}

}  // namespace

Result<Json> fds_json(const Reader& reader) {
  std::map<uint64_t, Json> by_id = TRY(descriptions(reader));
  std::map<std::pair<int32_t, int32_t>, std::string> closed = TRY(closed_ends(reader));
  Json list = Json::array();
  for (const image::DescriptorRecord& record : TRY(all_of<image::DescriptorRecord>(reader, RecordType::kDescriptor))) {
    Json json = image::to_json(record);
    auto found = by_id.find(record.description);
    if (found != by_id.end()) json["description"] = found->second;
    if (auto gone = closed.find({record.pid, record.fd}); gone != closed.end()) json["closed"] = gone->second;
    list.push_back(std::move(json));
  }
  return list;
}

Result<std::string> fds_table(const Reader& reader) {
  std::map<uint64_t, Json> by_id = TRY(descriptions(reader));
  std::map<std::pair<int32_t, int32_t>, std::string> closed = TRY(closed_ends(reader));
  Table table({"PID", "FD", "KIND", "FLAGS", "BEHIND IT"}, {true, true, false, false, false});
  for (const image::DescriptorRecord& record : TRY(all_of<image::DescriptorRecord>(reader, RecordType::kDescriptor))) {
    auto found = by_id.find(record.description);
    bool known = found != by_id.end();
    std::string flags = known ? fmt::format("{:o}", found->second.at("description").at("flags").get<uint32_t>()) : "";
    std::string behind = known ? describe(found->second) : "";
    if (auto gone = closed.find({record.pid, record.fd}); gone != closed.end())
      behind += (behind.empty() ? "closed: " : "; closed: ") + printable(gone->second);
    table.add({fmt::format("{}", record.pid), fmt::format("{}", record.fd),
               known ? found->second.at("type").get<std::string>() : "",
               flags + (record.close_on_exec ? " cloexec" : ""), std::move(behind)});
  }
  return table.text();
}

Result<Json> threads_json(const Reader& reader) { return json_of_types(reader, {RecordType::kThread}); }

Result<std::string> threads_table(const Reader& reader) {
  Table table({"PID", "TID", "NAME", "AT", "IN CALL", "GOES ON", "PENDING", "BLOCKED"},
              {true, true, false, true, true, false, true, true});
  for (const image::ThreadRecord& thread : TRY(all_of<image::ThreadRecord>(reader, RecordType::kThread))) {
    auto [at, call] = position_of(thread);
    table.add({fmt::format("{}", thread.pid), fmt::format("{}", thread.tid), printable(thread.comm), at, call,
               resumption_of(thread), fmt::format("{}", thread.pending.size()),
               fmt::format("{:x}", thread.signal_mask)});
  }
  return table.text();
}

}  // namespace stint::store
