#include "mem/dirty.h"

#include <sys/syscall.h>

#include <algorithm>

#include "sys/userfault.h"

namespace stint::mem {

bool can_follow() { return sys::can_follow_writes(); }

Result<Follower> Follower::start(tracee::StoppedProcess& process, tracee::Hands& hands,
                                 std::span<const proc::Vma> vmas) {
  tracee::Call make{SYS_userfaultfd, {static_cast<uint64_t>(sys::kUserfaultFlags)}};
  sys::UniqueFd userfault = TRY(hands.open_for_us(process.representative(), "userfaultfd", make));
  TRY(sys::set_asynchronous_write_protect(userfault.get()));
  Follower follower(process.seen_as(), std::move(userfault), TRY(sys::Pagemap::open(process.seen_as())));
  for (const proc::Vma& vma : vmas) {
    if (vma.shared || !vma.anonymous()) continue;
    // Whole mappings, so that none is split. One that the kernel refuses is not followed.
    if (!sys::follow_writes(follower.userfault_.get(), vma.range).has_value()) continue;
    if (!follower.followed_.empty() && follower.followed_.back().end == vma.range.start)
      follower.followed_.back().end = vma.range.end;
    else
      follower.followed_.push_back(vma.range);
  }
  return follower;
}

Result<std::vector<Range>> Follower::take_written() {
  std::vector<Range> taken;
  for (const Range& range : followed_) {
    std::vector<Range> some = TRY(pagemap_.take_written(range));
    taken.insert(taken.end(), some.begin(), some.end());
  }
  return taken;
}

Result<uint64_t> Follower::bytes_written() const {
  uint64_t bytes = 0;
  for (const Range& range : followed_)
    for (const Range& written : TRY(pagemap_.written(range))) bytes += written.size();
  return bytes;
}

void Follower::unprotect() {
  constexpr uint64_t kPiece = 16 << 20;
  for (const Range& range : followed_)
    for (uint64_t at = range.start; at < range.end; at += kPiece)
      (void)sys::unprotect(userfault_.get(), {at, std::min(at + kPiece, range.end)});
}

}  // namespace stint::mem
