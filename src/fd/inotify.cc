// An inotify group: watches of inodes, and a queue of events. The kernel shows each watch's number, mask and inode;
// watched_path.h finds a name for the inode. Numbers are given in a circle, so a group gets its old numbers by giving
// away those between.
//
// Events that wait are the one thing that cannot be kept: they can be looked at only by taking them, and no call puts
// one back; to cause them once more would mean to change the files of others. So a checkpoint is refused while some
// wait that the program has not read. It mostly reads them at once: try again.
//
// The watches are made when all else of the job is in place, so that what happens while it is made does not show. What
// happens to the files between the checkpoint and the restart is seen by nobody, and is no event.
#include <fmt/format.h>
#include <sys/inotify.h>

#include <algorithm>

#include "fd/kinds.h"
#include "fd/watched_path.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/inotify.h"
#include "sys/memory.h"
#include "sys/procfs.h"

namespace stint::fd {
namespace {

using image::InotifyRecord;
using image::InotifyWatch;

constexpr uint32_t kKept = IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK;
constexpr int kMostWatches = 1 << 20;  // 13 s to count as far
constexpr int kAtATime = 4096;         // a queue holds 16384 events

bool recognises(const Facts& facts, const CaptureContext&) { return facts.link == "anon_inode:inotify"; }

// Before Linux 5.19 the kernel does not show IN_EXCL_UNLINK and IN_ONESHOT.
Result<bool> masks_are_whole() {
  sys::UniqueFd probe = TRY(sys::inotify());
  TRY(sys::watch_inode(probe.get(), "/", IN_DELETE_SELF | IN_EXCL_UNLINK));
  proc::FdInfo info = TRY(proc::parse_fdinfo(TRY(sys::read_proc(Pid{0}, fmt::format("fdinfo/{}", probe.get())))));
  return !info.inotify.empty() && (info.inotify[0].mask & IN_EXCL_UNLINK) != 0;
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  if (!facts.waits_in.empty())
    return passing_refusal(facts, "its watches are made by way of a process that has it",
                           "let the message be received first");
  if (TRY(sys::bytes_queued(facts.ours.get())) != 0)
    return passing_refusal(facts, "events wait that the program has not read, and they cannot be kept",
                           "try again when it has read them");
  InotifyRecord record;
  record.description = description;
  if (!facts.info.inotify.empty() && !TRY(masks_are_whole()))
    return refusal(facts, "this kernel does not show all that was asked of its watches (Linux 5.19 does)",
                   "close it before the checkpoint");
  std::map<int, WatchedPath> paths = TRY(find_watched_paths(facts, context));
  for (const proc::InotifyWatch& watch : facts.info.inotify) {
    auto found = paths.find(watch.wd);
    if (found == paths.end())
      return refusal(facts,
                     fmt::format("no name is known for what its watch {} is for (inode {} on device {:#x})", watch.wd,
                                 watch.ino, watch.sdev),
                     "keep the file or a directory above it open, or name it in the command line");
    record.watches.push_back(
        {watch.wd, watch.mask & kKept, found->second.path, found->second.description, found->second.directory});
  }
  std::ranges::sort(record.watches, {}, &InotifyWatch::watch);
  if (!record.watches.empty()) record.last_watch = record.watches.back().watch;
  if (record.last_watch > kMostWatches)
    return refusal(facts, fmt::format("it has given {} numbers to watches", record.last_watch), "close it");
  return put_record(context.sink, kInotify.type, record);
}

Result<sys::UniqueFd> restore(ByteView, RestoreContext&) { return sys::inotify(); }

// Gives away the numbers up to `last`, of which `given` was the last so far.
Result<> skip_numbers(int inotify, int given, int last) {
  if (given >= last) return {};
  sys::UniqueFd nothing = TRY(sys::anonymous_file("stint watch"));
  std::string path = fmt::format("/proc/self/fd/{}", nothing.get());
  while (given < last) {
    given = TRY(sys::watch_inode(inotify, path, IN_DELETE_SELF));
    TRY(sys::unwatch_inode(inotify, given));
    if (given % kAtATime == 0) TRY(sys::drop_events(inotify));
  }
  TRY(sys::drop_events(inotify));
  return given == last ? Result<>() : failed("numbers of watches are not given in turn");
}

Result<int> make_watch(int inotify, const InotifyWatch& watch, const LastLook& job) {
  uint32_t mask = watch.mask | (watch.directory ? IN_ONLYDIR : 0u);
  if (watch.description != 0) {
    sys::UniqueFd open = TRY(job.description(watch.description));
    if (open.valid()) return sys::watch_inode(inotify, fmt::format("/proc/self/fd/{}", open.get()), mask);
  }
  if (watch.path.empty()) return damaged("inotify record: a watch of nothing");
  Result<struct stat> stat = sys::stat(job.root + watch.path);
  if (!stat.has_value() || S_ISDIR(stat->st_mode) != watch.directory)
    return unfit(fmt::format("{} is watched by the job, and is not there any more as what it was", watch.path));
  return TRY(sys::watch_inode(inotify, job.root + watch.path, mask)
                 .in("see fs.inotify.max_user_watches")
                 .as(ErrorKind::kUnfit));
}

Result<> settle(ByteView bytes, int fd, const LastLook& job) {
  InotifyRecord record = TRY(image::decode<InotifyRecord>(bytes));
  int given = 0;
  for (const InotifyWatch& watch : record.watches) {
    TRY(skip_numbers(fd, given, watch.watch - 1));
    given = TRY(make_watch(fd, watch, job));
    if (given != watch.watch)
      return unfit(fmt::format("{} and another file that the job watches are one and the same now", watch.path));
  }
  return skip_numbers(fd, given, record.last_watch);
}

}  // namespace

const Kind kInotify = {
    .name = "inotify",
    .kept = "watches with their numbers and masks",
    .refused = "events wait that were not read; no name is known of what is watched",
    .type = image::RecordType::kInotify,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
    .settle = settle,
};

}  // namespace stint::fd
