#include "store/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "image/fd_records.h"
#include "image/file_records.h"
#include "image/ipc_records.h"
#include "image/memory_records.h"
#include "image/record_kinds.h"
#include "image/task_records.h"
#include "store/diff_memory.h"
#include "store/page_hashes.h"
#include "store/records.h"
#include "store/show.h"

namespace stint::store {
namespace {

using image::RecordType;
using Json = nlohmann::ordered_json;

// Calls f(was, now) for each key of the two maps, in their order, with nullptr where it is not there.
template <class Key, class Value, class F>
void each_pair(const std::map<Key, Value>& was, const std::map<Key, Value>& now, F f) {
  auto a = was.begin(), b = now.begin();
  while (a != was.end() || b != now.end()) {
    if (b == now.end() || (a != was.end() && a->first < b->first)) {
      f(a->first, &a->second, static_cast<const Value*>(nullptr));
      ++a;
    } else if (a == was.end() || b->first < a->first) {
      f(b->first, static_cast<const Value*>(nullptr), &b->second);
      ++b;
    } else {
      f(a->first, &a->second, &b->second);
      ++a, ++b;
    }
  }
}

Change change_of(const void* was, const void* now) {
  if (was == nullptr) return Change::kNew;
  return now == nullptr ? Change::kGone : Change::kChanged;
}

// By number: what runs in it.
Result<std::map<int32_t, std::string>> processes(const Reader& reader) {
  std::map<int32_t, std::string> found;
  for (const image::ProcessRecord& process : TRY(all_of<image::ProcessRecord>(reader, RecordType::kProcess)))
    found[process.pid] = process.exe;
  for (const image::ZombieRecord& zombie : TRY(all_of<image::ZombieRecord>(reader, RecordType::kZombie)))
    found[zombie.pid] = "zombie";
  return found;
}

Result<> diff_processes(const Reader& was, const Reader& now, Diff& diff) {
  each_pair(TRY(processes(was)), TRY(processes(now)),
            [&](int32_t pid, const std::string* before, const std::string* after) {
              if (before != nullptr && after != nullptr && *before == *after) return;
              diff.processes.push_back(
                  {change_of(before, after), pid, before != nullptr ? *before : "", after != nullptr ? *after : ""});
            });
  return {};
}

using ThreadKey = std::pair<int32_t, int32_t>;  // process, thread

Result<std::map<ThreadKey, std::string>> threads(const Reader& reader) {
  std::map<ThreadKey, std::string> found;
  for (const image::ThreadRecord& thread : TRY(all_of<image::ThreadRecord>(reader, RecordType::kThread)))
    if (thread.tid != thread.pid) found[{thread.pid, thread.tid}] = thread.comm;
  return found;
}

Result<> diff_threads(const Reader& was, const Reader& now, Diff& diff) {
  each_pair(
      TRY(threads(was)), TRY(threads(now)),
      [&](const ThreadKey& key, const std::string* before, const std::string* after) {
        if (before != nullptr && after != nullptr) return;
        diff.threads.push_back({change_of(before, after), key.first, key.second, before != nullptr ? *before : *after});
      });
  return {};
}

// What it is without the numbers that other objects have in this checkpoint only.
void remove_ids(Json& json) {
  if (json.is_array())
    for (Json& element : json) remove_ids(element);
  if (!json.is_object()) return;
  for (const char* id : {"id", "pipe", "socket", "peer", "waiting", "descriptions", "file_state", "shared_memory"})
    json.erase(id);
  if (auto nested = json.find("description"); nested != json.end() && nested->is_number()) json.erase("description");
  for (auto& [name, value] : json.items()) remove_ids(value);
}

// A descriptor, and what is behind it.
struct Open {
  std::string kind, what;
  std::optional<uint64_t> position;
  Json fields;
};

using DescriptorKey = std::pair<int32_t, int32_t>;  // process, descriptor

Result<std::map<DescriptorKey, Open>> descriptors(const Reader& reader) {
  std::map<uint64_t, Open> behind;
  for (const image::Record& record : reader.records()) {
    if (!is_description(record.type)) continue;
    const image::RecordKind* kind = image::find_kind(static_cast<uint32_t>(record.type));
    CHECK(kind != nullptr);  // The stream's decoder leaves no others.
    Json json = TRY(kind->print(record.payload, image::BytesAs::kSizeAndHash));
    Open open{.kind = kind->name, .what = {}, .position = {}, .fields = {}};
    if (auto position = json.find("position"); position != json.end()) {
      open.position = position->get<uint64_t>();
      json.erase("position");
    }
    open.what = describe(json);
    uint64_t id = json.at("description").at("id").get<uint64_t>();
    remove_ids(json);
    open.fields = std::move(json);
    behind.emplace(id, std::move(open));
  }
  std::map<DescriptorKey, Open> found;
  for (const image::DescriptorRecord& descriptor :
       TRY(all_of<image::DescriptorRecord>(reader, RecordType::kDescriptor))) {
    Open open = behind[descriptor.description];
    Json own = image::to_json(descriptor);
    open.fields["close_on_exec"] = own["close_on_exec"], open.fields["locks"] = own["locks"];
    found.emplace(DescriptorKey(descriptor.pid, descriptor.fd), std::move(open));
  }
  return found;
}

// The names of the fields that are not the same in both.
std::vector<std::string> differing(const Json& was, const Json& now) {
  std::set<std::string> names;
  for (const Json* one : {&was, &now})
    for (const auto& [name, value] : one->items()) names.insert(name);
  std::vector<std::string> fields;
  for (const std::string& name : names)
    if (!was.contains(name) || !now.contains(name) || was.at(name) != now.at(name)) fields.push_back(name);
  return fields;
}

Result<> diff_descriptors(const Reader& was, const Reader& now, Diff& diff) {
  each_pair(TRY(descriptors(was)), TRY(descriptors(now)),
            [&](const DescriptorKey& key, const Open* before, const Open* after) {
              const Open& shown = after != nullptr ? *after : *before;
              DescriptorChange change{
                  change_of(before, after), key.first, key.second, shown.kind, shown.what, {}, {}, {}};
              if (before != nullptr) change.position_was = before->position;
              if (after != nullptr) change.position_now = after->position;
              if (before != nullptr && after != nullptr) {
                change.fields = differing(before->fields, after->fields);
                if (before->kind != after->kind) change.fields.insert(change.fields.begin(), "kind");
                if (change.fields.empty() && before->position == after->position) return;
              }
              diff.descriptors.push_back(std::move(change));
            });
  return {};
}

// Of several without a name that had the same one, the first by inode number is the first again.
using FileKey = std::tuple<std::string, bool, size_t>;  // path, unlinked, which of them

Result<std::map<FileKey, image::FileStateRecord>> files(const Reader& reader) {
  std::vector<image::FileStateRecord> all = TRY(all_of<image::FileStateRecord>(reader, RecordType::kFileState));
  std::ranges::sort(all, {}, &image::FileStateRecord::inode);
  std::map<FileKey, image::FileStateRecord> found;
  for (image::FileStateRecord& file : all) {
    FileKey key(file.path, file.unlinked, 0);
    while (found.contains(key)) ++std::get<2>(key);
    found.emplace(std::move(key), std::move(file));
  }
  return found;
}

bool other_content(const image::FileStateRecord& was, const image::FileStateRecord& now) {
  if (was.content && now.content) return was.size != now.size || was.content != now.content;
  if (was.made_up || now.made_up) return false;
  return was.size != now.size || was.mtime_ns != now.mtime_ns;
}

Result<> diff_files(const Reader& was, const Reader& now, Diff& diff) {
  each_pair(TRY(files(was)), TRY(files(now)),
            [&](const FileKey& key, const image::FileStateRecord* before, const image::FileStateRecord* after) {
              bool content = before != nullptr && after != nullptr && other_content(*before, *after);
              if (before != nullptr && after != nullptr && !content) return;
              diff.files.push_back({change_of(before, after), std::get<0>(key), std::get<1>(key),
                                    before != nullptr ? before->size : 0, after != nullptr ? after->size : 0, content});
            });
  return {};
}

// What is behind a name: fields, and pages.
struct Object {
  Json fields;
  std::vector<SavedPage> pages;
};

std::vector<SavedPage> pages_of(const SavedPages& pages, uint64_t id) {
  auto found = pages.find(image::kObjectSpace | id);
  return found == pages.end() ? std::vector<SavedPage>() : found->second;
}

// A memfd is known again by the first descriptor that leads to it.
Result<> add_memfds(const Reader& reader, const SavedPages& pages, std::map<std::string, Object>& objects) {
  std::map<uint64_t, image::SharedMemoryRecord> memory;
  for (image::SharedMemoryRecord& record : TRY(all_of<image::SharedMemoryRecord>(reader, RecordType::kSharedMemory)))
    memory.emplace(record.id, std::move(record));
  std::map<uint64_t, uint64_t> behind;  // the memory of a description
  for (const image::MemfdRecord& memfd : TRY(all_of<image::MemfdRecord>(reader, RecordType::kMemfd)))
    behind[memfd.description.id] = memfd.shared_memory;
  std::vector<image::DescriptorRecord> descriptors =
      TRY(all_of<image::DescriptorRecord>(reader, RecordType::kDescriptor));
  std::ranges::sort(descriptors, {}, [](const image::DescriptorRecord& d) { return std::pair(d.pid, d.fd); });
  for (const image::DescriptorRecord& descriptor : descriptors) {
    auto found = behind.find(descriptor.description);
    if (found == behind.end()) continue;
    auto record = memory.extract(found->second);
    if (record.empty()) continue;
    Json fields = image::to_json(record.mapped());
    remove_ids(fields);
    objects[fmt::format("memfd {} (pid {}, descriptor {})", record.mapped().name, descriptor.pid, descriptor.fd)] = {
        std::move(fields), pages_of(pages, record.key())};
  }
  return {};
}

Result<std::map<std::string, Object>> objects(const Reader& reader, const SavedPages& pages) {
  std::map<std::string, Object> found;
  TRY(add_memfds(reader, pages, found));
  for (const image::Record& record : reader.records()) {
    bool ipc = record.type >= RecordType::kSysvSegment && record.type <= RecordType::kPosixQueue;
    if (!ipc) continue;
    const image::RecordKind* kind = image::find_kind(static_cast<uint32_t>(record.type));
    CHECK(kind != nullptr);
    Json json = TRY(kind->print(record.payload, image::BytesAs::kSizeAndHash));
    Object object{.fields = json, .pages = {}};
    std::string name = json.contains("owner") ? json["owner"]["id"].dump() : json["name"].get<std::string>();
    if (record.type == RecordType::kSysvSegment)
      object.pages = pages_of(pages, image::kSysvSegment | json["owner"]["id"].get<uint64_t>());
    found[fmt::format("{} {}", kind->name, name)] = std::move(object);
  }
  return found;
}

Result<> diff_objects(const Reader& was, const SavedPages& pages_were, const Reader& now, const SavedPages& pages_are,
                      Diff& diff) {
  each_pair(TRY(objects(was, pages_were)), TRY(objects(now, pages_are)),
            [&](const std::string& name, const Object* before, const Object* after) {
              bool same = before != nullptr && after != nullptr && before->fields == after->fields &&
                          before->pages == after->pages;
              if (!same) diff.objects.push_back({change_of(before, after), name});
            });
  return {};
}

Json range_json(Range range) { return {{"start", range.start}, {"end", range.end}}; }

Json json_of(const MappingChange& mapping) {
  Json json{{"change", name_of(mapping.change)}, {"pid", mapping.pid}, {"name", mapping.name}};
  json["segment"] = mapping.segment;
  if (mapping.change != Change::kNew)
    json["was"] = range_json(mapping.was), json["was"]["protection"] = mapping.protection_was;
  if (mapping.change != Change::kGone)
    json["now"] = range_json(mapping.now), json["now"]["protection"] = mapping.protection_now;
  json["new_bytes"] = mapping.pages.added, json["changed_bytes"] = mapping.pages.changed;
  json["gone_bytes"] = mapping.pages.gone, json["same_bytes"] = mapping.pages.same;
  return json;
}

Json json_of(const DescriptorChange& descriptor) {
  Json json{{"change", name_of(descriptor.change)}, {"pid", descriptor.pid}, {"fd", descriptor.fd}};
  json["kind"] = descriptor.kind, json["what"] = descriptor.what, json["fields"] = descriptor.fields;
  if (descriptor.position_was) json["position_was"] = *descriptor.position_was;
  if (descriptor.position_now) json["position_now"] = *descriptor.position_now;
  return json;
}

Json json_of(const FileChange& file) {
  Json json{{"change", name_of(file.change)}, {"path", file.path}, {"unlinked", file.unlinked}};
  if (file.change != Change::kNew) json["size_was"] = file.size_was;
  if (file.change != Change::kGone) json["size_now"] = file.size_now;
  return json;
}

Json json_of(const ProcessChange& process) {
  return {{"change", name_of(process.change)}, {"pid", process.pid}, {"was", process.was}, {"now", process.now}};
}

Json json_of(const ThreadChange& thread) {
  return {{"change", name_of(thread.change)}, {"pid", thread.pid}, {"tid", thread.tid}, {"name", thread.name}};
}

Json json_of(const ObjectChange& object) { return {{"change", name_of(object.change)}, {"name", object.name}}; }

template <class T>
Json list_of(const std::vector<T>& changes) {
  Json list = Json::array();
  for (const T& change : changes) list.push_back(json_of(change));
  return list;
}

}  // namespace

const char* name_of(Change change) {
  switch (change) {
    case Change::kNew:
      return "new";
    case Change::kGone:
      return "gone";
    case Change::kChanged:
      return "changed";
  }
  return "unknown";
}

Result<Diff> diff(const Reader& was, const Reader& now) {
  SavedPages pages_were = TRY(saved_pages(was)), pages_are = TRY(saved_pages(now));
  Diff diff;
  TRY(diff_processes(was, now, diff));
  TRY(diff_threads(was, now, diff));
  TRY(diff_memory(was, pages_were, now, pages_are, diff));
  TRY(diff_descriptors(was, now, diff));
  TRY(diff_files(was, now, diff));
  TRY(diff_objects(was, pages_were, now, pages_are, diff));
  return diff;
}

Json to_json(const Diff& diff) {
  return {{"processes", list_of(diff.processes)}, {"threads", list_of(diff.threads)},
          {"mappings", list_of(diff.mappings)},   {"descriptors", list_of(diff.descriptors)},
          {"files", list_of(diff.files)},         {"objects", list_of(diff.objects)},
          {"new_bytes", diff.pages.added},        {"changed_bytes", diff.pages.changed},
          {"gone_bytes", diff.pages.gone},        {"same_bytes", diff.pages.same}};
}

}  // namespace stint::store
