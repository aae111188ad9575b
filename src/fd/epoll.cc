// An epoll set watches open file descriptions, each under the number that it had when it was added. That number may
// since have been closed or given to something else, while the description lives on under another one: fdinfo shows the
// old number only, and KCMP_EPOLL_TFD tells which description is really meant. Restore adds every watch under its old
// number, lending it to the right description for the moment where it now belongs to another one.
//
// The events are added again, so a watch that is edge-triggered reports once more what it may have reported before. A
// watch with EPOLLONESHOT that has fired comes back without events: error and hang-up alone would still show.
#include <fmt/format.h>

#include <map>

#include "fd/kinds.h"
#include "sys/descriptor.h"
#include "sys/event.h"

namespace stint::fd {
namespace {

using image::EpollRecord;

bool recognises(const Facts& facts, const CaptureContext&) { return facts.link == "anon_inode:[eventpoll]"; }

Result<bool> is_watched(const Facts& set, const proc::EpollWatch& watch, unsigned nth, const Facts& candidate) {
  return TRY(sys::watches(set.ours.get(), watch.tfd, nth, candidate.ours.get())).value_or(false);
}

// The id of the description that the nth watch under this number is for; 0 when no descriptor of the job leads to it.
Result<uint64_t> find_watched(const Facts& facts, const proc::EpollWatch& watch, unsigned nth,
                              const CaptureContext& context) {
  // Nearly always it still has its number. Anonymous inodes share one number: the long way round is the exception.
  auto same_number = context.by_number.find({facts.pid.number, watch.tfd});
  if (same_number != context.by_number.end() && TRY(is_watched(facts, watch, nth, *same_number->second)))
    return context.description_of.at(same_number->first);
  auto [first, last] = context.by_inode.equal_range(watch.ino);
  for (auto entry = first; entry != last; ++entry) {
    const Facts& candidate = *entry->second;
    if (TRY(is_watched(facts, watch, nth, candidate)))
      return context.description_of.at({candidate.pid.number, candidate.fd.number});
  }
  return 0;
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  EpollRecord record;
  record.description = description;
  std::map<int, unsigned> seen;  // watches under one number
  for (const proc::EpollWatch& watch : facts.info.epoll) {
    uint64_t watched = TRY(find_watched(facts, watch, seen[watch.tfd]++, context));
    if (watched == 0)
      return refusal(
          facts,
          fmt::format("watches what was once fd {} and is now open outside of the job only, or in a message or a "
                      "mapping",
                      watch.tfd),
          "remove the watch (EPOLL_CTL_DEL) before that descriptor is closed");
    record.watches.push_back({.fd = watch.tfd, .description = watched, .events = watch.events, .data = watch.data});
  }
  return put_record(context.sink, kEpoll.type, record);
}

Result<sys::UniqueFd> restore(ByteView, RestoreContext&) { return sys::epoll(); }

// Adds a watch under a number that means something else, or nothing, by now.
Result<> add_under_borrowed_number(int epoll, int watched, const image::EpollWatch& watch) {
  std::optional<int> before = TRY(sys::descriptor_flags(watch.fd));
  if (!before.has_value()) {
    TRY(sys::duplicate_to(watched, watch.fd, true));
    Result<> added = sys::add_watch(epoll, watch.fd, watch.events, watch.data);
    TRY(sys::close_range(watch.fd, watch.fd));
    return added;
  }
  sys::UniqueFd parked = TRY(sys::duplicate(watch.fd));
  sys::UniqueFd set = TRY(sys::duplicate(epoll));  // `epoll` itself may have the number.
  sys::UniqueFd target = TRY(sys::duplicate(watched));
  TRY(sys::duplicate_to(target.get(), watch.fd, true));
  Result<> added = sys::add_watch(set.get(), watch.fd, watch.events, watch.data);
  TRY(sys::duplicate_to(parked.get(), watch.fd, *before != 0));
  return added;
}

Result<> finish(ByteView bytes, int fd, RestoreContext& context) {
  EpollRecord record = TRY(image::decode<EpollRecord>(bytes));
  for (const image::EpollWatch& watch : record.watches) {
    auto watched = context.made.find(watch.description);
    if (context.late.contains(watch.description)) continue;  // settle() adds the watch.
    if (watched == context.made.end()) return damaged("epoll record: watches a description that is not there");
    Result<std::strong_ordering> same = sys::compare_descriptions(watch.fd, watched->second);
    if (same.has_value() && *same == std::strong_ordering::equal) {
      TRY(sys::add_watch(fd, watch.fd, watch.events, watch.data).in(fmt::format("watch of fd {}", watch.fd)));
    } else {
      TRY(add_under_borrowed_number(fd, watched->second, watch).in(fmt::format("watch of what was fd {}", watch.fd)));
    }
  }
  return {};
}

// Whether one of the watches that were added under the number is for the description behind `watched`.
Result<bool> has_watch(int epoll, int number, int watched) {
  for (unsigned nth = 0;; ++nth) {
    std::optional<bool> same = TRY(sys::watches(epoll, number, nth, watched));
    if (!same.has_value()) return false;
    if (*same) return true;
  }
}

// What was made late is watched from outside, for the time under its number among ours.
Result<> settle(ByteView bytes, int fd, const LastLook& job) {
  EpollRecord record = TRY(image::decode<EpollRecord>(bytes));
  for (const image::EpollWatch& watch : record.watches) {
    sys::UniqueFd watched = TRY(job.description(watch.description));
    if (!watched.valid()) continue;  // It waits in a message, and was there from the start.
    if (TRY(has_watch(fd, watch.fd, watched.get()))) continue;
    TRY(add_under_borrowed_number(fd, watched.get(), watch).in(fmt::format("watch of what was fd {}", watch.fd)));
  }
  return {};
}

}  // namespace

const Kind kEpoll = {
    .name = "epoll",
    .kept = "watches with their events and data, also under numbers that were closed or used again since",
    .refused = "a watched description is open outside of the job only, or in a queued message",
    .type = image::RecordType::kEpoll,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
    .finish = finish,
    .settle = settle,
};

}  // namespace stint::fd
