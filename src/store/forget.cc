#include "store/forget.h"

#include <fcntl.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>

#include "store/checkpoint_dir.h"
#include "store/prune.h"
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
      for (const image::LeansOn& on : TRY(Reader::index_of(entry.path)).leans_on) needed.insert(on.checkpoint);
  Forgotten forgotten;
  // The newest first: who leans goes before that on which he leans.
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (kept.contains(entry->number)) continue;
    // It loses its name before anything of it goes, so that a half removed one is never taken for whole.
    const char* suffix = needed.contains(entry->number) ? kLeftPagesSuffix : kPartialSuffix;
    TRY(sys::rename(entry->path, entry->path + suffix));
    forgotten.numbers.push_back(entry->number);
  }
  forgotten.freed_bytes = TRY(prune(checkpoints)).freed_bytes;
  std::ranges::sort(forgotten.numbers);
  return forgotten;
}

}  // namespace stint::store
