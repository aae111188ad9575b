#include "store/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "store/checkpoint_dir.h"
#include "sys/file.h"

namespace stint::store {
namespace {

// The names in a directory; none when it is not there.
Result<std::vector<std::string>> names_in(const std::string& directory) {
  Result<std::vector<std::string>> names = sys::list_directory(directory);
  if (!names.has_value() && names.error().os_errno() == ENOENT) return std::vector<std::string>();
  return names;
}

CheckpointEntry describe(const std::string& job, uint64_t number, const std::string& path) {
  CheckpointEntry entry{.job = job, .number = number, .path = path, .manifest = {}, .stored_bytes = 0};
  Result<Bytes> text = sys::read_file(path + "/" + kManifestFile);
  if (text.has_value()) {
    Result<Manifest> manifest = parse_manifest(text_of(*text));
    if (manifest.has_value()) entry.manifest = std::move(*manifest);
  }
  for (const char* part : {kRecordsFile, kPagesFile, kHashesFile}) {
    Result<struct stat> found = sys::lstat(path + "/" + part);
    if (found.has_value()) entry.stored_bytes += static_cast<uint64_t>(found->st_size);
  }
  return entry;
}

std::string numbers_of(const std::vector<CheckpointEntry>& entries) {
  std::string text;
  for (const CheckpointEntry& entry : entries) text += fmt::format("{}{}", text.empty() ? "" : ", ", entry.number);
  return text;
}

}  // namespace

Result<std::vector<std::string>> Catalog::jobs() const {
  std::vector<std::string> with_checkpoints;
  for (const std::string& job : TRY(names_in(jobs_)))
    if (!TRY(list(job)).empty()) with_checkpoints.push_back(job);
  return with_checkpoints;
}

Result<std::vector<CheckpointEntry>> Catalog::list(const std::string& job) const {
  std::string directory = checkpoints_of(job);
  std::vector<CheckpointEntry> entries;
  for (const std::string& name : TRY(names_in(directory)))
    if (uint64_t number = checkpoint_number(name); number != 0)
      entries.push_back(describe(job, number, directory + "/" + name));
  std::sort(entries.begin(), entries.end(),
            [](const CheckpointEntry& a, const CheckpointEntry& b) { return a.number < b.number; });
  return entries;
}

Result<CheckpointEntry> Catalog::resolve(const std::string& named) const {
  if (named.find('/') != std::string::npos) return resolve_path(named);
  size_t at = named.rfind('@');
  std::string job = named.substr(0, at);
  if (job.empty() || job.starts_with('.')) return usage(fmt::format("'{}' names no job", named));
  std::vector<CheckpointEntry> entries = TRY(list(job));
  if (entries.empty() && !sys::lstat(jobs_ + "/" + job).has_value())
    return usage(fmt::format("no job {} (`stint ps` lists them)", job));
  if (entries.empty()) return failed(fmt::format("job {} has no checkpoint (stint ls lists those there are)", job));
  if (at == std::string::npos) return entries.back();
  uint64_t number = checkpoint_number(std::string_view(named).substr(at + 1));
  if (number == 0) return usage(fmt::format("'{}': after the @ comes the number of a checkpoint", named));
  for (CheckpointEntry& entry : entries)
    if (entry.number == number) return std::move(entry);
  return failed(fmt::format("job {} has no checkpoint {}; it has {}", job, number, numbers_of(entries)));
}

Result<CheckpointEntry> Catalog::resolve_path(std::string path) const {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  struct stat found = TRY(sys::stat(path));
  if (!S_ISDIR(found.st_mode)) return damaged(path + ": no checkpoint: not a directory");
  std::string name = path.substr(path.rfind('/') + 1);
  if (name.ends_with(kPartialSuffix)) return damaged(path + ": a checkpoint that was never finished");
  return describe("", checkpoint_number(name), path);
}

}  // namespace stint::store
