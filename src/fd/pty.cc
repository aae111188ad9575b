#include "fd/pty.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>

#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/poll.h"
#include "sys/pty.h"

namespace stint::fd {
namespace {

const dev_t kPtmx = makedev(5, 2);
constexpr unsigned kFirstSlaveMajor = 136, kLastSlaveMajor = 143;

bool usable(const Facts& facts) { return S_ISCHR(facts.stat.st_mode) && (facts.info.flags & O_PATH) == 0; }

bool is_master(const Facts& facts) { return usable(facts) && facts.stat.st_rdev == kPtmx && facts.ours.valid(); }

// Of a master and a slave of one number. One more descriptor of a slave that is open changes nothing.
Result<bool> belong_together(const Facts& master, const Facts& slave) {
  Result<sys::UniqueFd> peer = sys::open_pty_peer(master.ours.get(), O_RDWR | O_NONBLOCK);
  // TIOCEXCL keeps us out, a lock too.
  if (!peer.has_value()) return true;
  struct stat there = TRY(sys::fstat(peer->get()));
  return there.st_dev == slave.stat.st_dev && there.st_ino == slave.stat.st_ino;
}

}  // namespace

int pty_number_of(dev_t device) {
  constexpr unsigned kMinors = 256;
  unsigned number = major(device);
  if (number < kFirstSlaveMajor || number > kLastSlaveMajor) return -1;
  return static_cast<int>((number - kFirstSlaveMajor) * kMinors + minor(device));
}

bool is_pty_slave(const Facts& facts) { return usable(facts) && pty_number_of(facts.stat.st_rdev) >= 0; }

Result<std::map<int, int>> controlling_ptys(std::span<const std::vector<Facts>> tables) {
  std::map<int, int> by_session;
  for (const std::vector<Facts>& table : tables)
    for (const Facts& facts : table) {
      if (!is_master(facts)) continue;
      if (int session = TRY(sys::session_of_pty(facts.ours.get())); session > 0)
        by_session[session] = TRY(sys::pty_number(facts.ours.get()));
    }
  return by_session;
}

Result<bool> has_own_pts(Pid process) {
  Result<struct stat> theirs = sys::stat(fmt::format("/proc/{}/root/dev/pts", process.number));
  Result<struct stat> ours = sys::stat("/dev/pts");
  if (!theirs.has_value() && theirs.error().os_errno() == ENOENT) return false;
  return !ours.has_value() || TRY(std::move(theirs)).st_dev != ours->st_dev;
}

Result<> note_pty(const Facts& facts, PtyEnds& ptys) {
  if (is_pty_slave(facts)) ptys.slaves.emplace(pty_number_of(facts.stat.st_rdev), &facts);
  if (is_master(facts)) ptys.masters.emplace(TRY(sys::pty_number(facts.ours.get())), &facts);
  return {};
}

Result<const Facts*> find_master(const Facts& slave, const CaptureContext& context) {
  if (!is_pty_slave(slave)) return nullptr;
  auto [first, last] = context.ptys.masters.equal_range(pty_number_of(slave.stat.st_rdev));
  for (auto master = first; master != last; ++master)
    if (TRY(belong_together(*master->second, slave))) return master->second;
  return nullptr;
}

Result<const Facts*> find_slave(const Facts& master, const CaptureContext& context) {
  auto [first, last] = context.ptys.slaves.equal_range(TRY(sys::pty_number(master.ours.get())));
  for (auto slave = first; slave != last; ++slave)
    if (TRY(belong_together(master, *slave->second))) return slave->second;
  return nullptr;
}

Result<int> restored_master(int number, RestoreContext& context) {
  auto found = context.ptys.find(number);
  if (found != context.ptys.end()) return found->second.get();
  if (number < 0) return damaged("pseudoterminal record: a negative number");
  Result<sys::UniqueFd> master = sys::open_pty_number("/dev/ptmx", number);
  // Whoever looks for a higher number, as we do here, has this one for a moment.
  for (int tries = 0; tries < 50 && !master.has_value() && master.error().os_errno() == EBUSY; ++tries) {
    TRY(sys::poll({}, 20));
    master = sys::open_pty_number("/dev/ptmx", number);
  }
  if (!master.has_value() && master.error().os_errno() == EBUSY)
    return unfit(fmt::format(
        "/dev/pts/{} is in use here, and was a terminal of the job: close it (a contained job has its own)", number));
  return context.ptys.emplace(number, TRY(std::move(master))).first->second.get();
}

}  // namespace stint::fd
