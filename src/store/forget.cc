#include "store/forget.h"

#include <fcntl.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>

#include "store/checkpoint_dir.h"
#include "store/reader.h"
#include "sys/file.h"

namespace stint::store {
namespace {

tm local_time(const CheckpointEntry& entry) {
  time_t seconds = static_cast<time_t>(entry.manifest->created_ns / 1'000'000'000);
  tm broken = {};
  ::localtime_r(&seconds, &broken);
  return broken;
}

constexpr int kDaysOfWeek = 7;

// What two checkpoints of one hour, day, ... have in common.
using Period = std::array<int, 3>;
Period year(const tm& at) { return {at.tm_year, 0, 0}; }
Period month(const tm& at) { return {at.tm_year, at.tm_mon, 0}; }
Period day(const tm& at) { return {at.tm_year, at.tm_yday, 0}; }
Period hour(const tm& at) { return {at.tm_year, at.tm_yday, at.tm_hour}; }
// The day of its Monday, which may lie in the year before.
Period week(const tm& at) {
  tm monday = at;
  monday.tm_mday -= (at.tm_wday + kDaysOfWeek - 1) % kDaysOfWeek;
  monday.tm_hour = 12, monday.tm_isdst = -1;
  ::mktime(&monday);
  return day(monday);
}

// `entries` with manifest, newest first.
void keep_newest_of_each(uint32_t count, Period (*period)(const tm&),
                         const std::vector<const CheckpointEntry*>& entries, std::set<uint64_t>& kept) {
  std::optional<Period> last;
  for (const CheckpointEntry* entry : entries) {
    Period its = period(local_time(*entry));
    if (last == its) continue;
    if (count == 0) return;
    --count;
    kept.insert(entry->number);
    last = its;
  }
}

uint64_t size_of(const std::string& directory) {
  uint64_t size = 0;
  Result<std::vector<std::string>> names = sys::list_directory(directory);
  for (const std::string& name : names.value_or(std::vector<std::string>())) {
    Result<struct stat> found = sys::lstat(directory + "/" + name);
    if (found.has_value()) size += static_cast<uint64_t>(found->st_size);
  }
  return size;
}

// It loses its name first, so that a half removed one is never taken for whole.
Result<> remove_whole(const std::string& directory) {
  std::string nameless = directory + kPartialSuffix;
  TRY(sys::rename(directory, nameless));
  return sys::remove_tree(nameless);
}

Result<> remove_all_but_pages(const std::string& left) {
  for (const char* part : {kRecordsFile, kManifestFile}) {
    Result<> gone = sys::unlink(left + "/" + part);
    if (!gone.has_value() && gone.error().os_errno() != ENOENT) return gone;
  }
  return {};
}

// The new name is there, also after a power failure, before anything is missing under the old one.
Result<> leave_only_pages(const std::string& checkpoints, const std::string& directory) {
  TRY(sys::rename(directory, directory + kLeftPagesSuffix));
  sys::UniqueFd parent = TRY(sys::open(checkpoints, O_RDONLY | O_DIRECTORY));
  TRY(sys::fsync(parent.get()));
  return remove_all_but_pages(directory + kLeftPagesSuffix);
}

// Pages that were left for somebody who is forgotten himself by now, and what calls that were interrupted have left.
Result<> tidy(const std::string& checkpoints, const std::set<uint64_t>& needed, Forgotten& forgotten) {
  for (const std::string& name : TRY(sys::list_directory(checkpoints))) {
    if (!name.ends_with(kLeftPagesSuffix)) continue;
    std::string left = checkpoints + "/" + name;
    if (needed.contains(checkpoint_number(name.substr(0, name.find('.'))))) {
      TRY(remove_all_but_pages(left));
    } else {
      forgotten.freed_bytes += size_of(left);
      TRY(remove_whole(left));
    }
  }
  return {};
}

}  // namespace

std::set<uint64_t> kept_by(const KeepPolicy& policy, const std::vector<CheckpointEntry>& entries) {
  std::set<uint64_t> kept;
  std::vector<const CheckpointEntry*> dated;
  for (const CheckpointEntry& entry : entries) {
    if (entry.manifest)
      dated.push_back(&entry);
    else
      kept.insert(entry.number);
  }
  std::ranges::sort(dated, std::greater(), &CheckpointEntry::number);
  for (size_t i = 0; i < dated.size() && i < policy.last; ++i) kept.insert(dated[i]->number);
  keep_newest_of_each(policy.hourly, hour, dated, kept);
  keep_newest_of_each(policy.daily, day, dated, kept);
  keep_newest_of_each(policy.weekly, week, dated, kept);
  keep_newest_of_each(policy.monthly, month, dated, kept);
  keep_newest_of_each(policy.yearly, year, dated, kept);
  return kept;
}

Result<Forgotten> forget(const std::string& checkpoints, const std::vector<CheckpointEntry>& entries,
                         const std::set<uint64_t>& kept) {
  std::set<uint64_t> needed;
  for (const CheckpointEntry& entry : entries)
    if (kept.contains(entry.number))
      for (const image::LeansOn& on : TRY(Reader::leans_on(entry.path))) needed.insert(on.checkpoint);
  Forgotten forgotten;
  // The newest first: who leans goes before that on which he leans.
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (kept.contains(entry->number)) continue;
    if (needed.contains(entry->number)) {
      TRY(leave_only_pages(checkpoints, entry->path));
    } else {
      forgotten.freed_bytes += size_of(entry->path);
      TRY(remove_whole(entry->path));
    }
    forgotten.numbers.push_back(entry->number);
  }
  TRY(tidy(checkpoints, needed, forgotten));
  std::ranges::sort(forgotten.numbers);
  return forgotten;
}

}  // namespace stint::store
