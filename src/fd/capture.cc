// The capture of descriptor tables. Which descriptors share an open file description the kernel tells by kcmp(2) only,
// two at a time; it gives an order, so that a sorted set needs n log n questions, and descriptors that differ in what
// can be seen anyway are not compared at all.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>

#include "fd/pty.h"
#include "fd/queued.h"
#include "fd/table.h"
#include "image/null_sink.h"
#include "sys/descriptor.h"
#include "sys/inode.h"
#include "sys/namespace.h"
#include "tracee/first_thread.h"

namespace stint::fd {
namespace {

using image::Description;

// Orders descriptors so that those of one description are equal. The first failure of kcmp is kept aside: an order
// cannot return it.
struct ByDescription {
  std::optional<Error>* failure;

  static std::tuple<dev_t, ino_t, uint32_t, uint64_t> visible(const Facts& facts) {
    return {facts.stat.st_dev, facts.stat.st_ino, facts.info.flags & ~static_cast<uint32_t>(O_CLOEXEC), facts.info.pos};
  }
  bool operator()(const Facts* a, const Facts* b) const {
    if (visible(*a) != visible(*b)) return visible(*a) < visible(*b);
    Result<std::strong_ordering> order = sys::compare_descriptions(a->ours.get(), b->ours.get());
    if (order.has_value()) return *order == std::strong_ordering::less;
    if (!*failure) *failure = std::move(order).error().in("telling shared descriptors apart (CONFIG_KCMP)");
    return a < b;
  }
};

// Gives every description a number, in the order in which their first descriptors come.
class Numbering {
 public:
  explicit Numbering(CaptureContext& context) : context_(context), ids_(ByDescription{&failure_}) {}
  Numbering(const Numbering&) = delete;

  Result<> add(std::span<const Facts> all) {
    for (const Facts& facts : all) {
      auto [place, fresh] = ids_.try_emplace(&facts, firsts.size() + 1);
      if (failure_) return std::move(*failure_);
      if (fresh) firsts.push_back(&facts);
      if (fresh) TRY(note_pty(facts, context_.ptys));
      std::pair<int, int> number{facts.pid.number, facts.fd.number};
      context_.by_number[number] = &facts;
      context_.description_of[number] = place->second;
      context_.by_inode.emplace(facts.stat.st_ino, &facts);
    }
    return {};
  }

  std::vector<const Facts*> firsts;

 private:
  CaptureContext& context_;
  std::optional<Error> failure_;
  std::map<const Facts*, uint64_t, ByDescription> ids_;
};

Result<std::vector<const Facts*>> number_descriptions(std::span<const std::vector<Facts>> processes,
                                                      std::span<const Facts> queued, CaptureContext& context) {
  Numbering numbering(context);
  for (const std::vector<Facts>& process : processes) TRY(numbering.add(process));
  TRY(numbering.add(queued));
  return std::move(numbering.firsts);
}

Result<> record_owner(const Facts& facts, CaptureContext& context, Description& description) {
  f_owner_ex owner = TRY(sys::owner(facts.ours.get()));
  description.signal = TRY(sys::signal_of(facts.ours.get()));
  if (owner.pid == 0) return {};
  description.owner_type = owner.type;
  if (owner.pid == facts.pid.number) {
    description.owner = facts.job_pid.number;
  } else if (context.job_number) {
    description.owner = context.job_number(owner.pid);
  }
  if (description.owner != 0) return {};
  // F_GETOWN shows an owner that has ended as none.
  return cut_off(facts, context, fmt::format("its signals (F_SETOWN) go to {}, which is not in the job", owner.pid),
                 "give it another owner, or none");
}

// A lease that somebody wants broken has a deadline, which the kernel does not show; the others are of file servers.
Result<> refuse_leases(const Facts& facts) {
  using Kind = proc::LockInfo::Kind;
  for (const proc::LockInfo& lock : facts.info.locks) {
    if (lock.kind == Kind::kLease && lock.mandatory_or_breaking)
      return passing_refusal(facts, "somebody waits for the lease (F_SETLEASE) that is held on it",
                             "try again when the lease was given back (F_UNLCK)");
    if (lock.kind == Kind::kDelegation || lock.kind == Kind::kLayout)
      return refusal(facts, "a delegation of a file server is held on it", "close it before the checkpoint");
  }
  return {};
}

// Of what is in no table nobody could make it late, nor take its lock again.
Result<> check_carried(const Facts& facts, const Kind& kind) {
  if (kind.make_in != nullptr)
    return refusal(facts, fmt::format("a {} must be made by a process that has it", kind.name),
                   "let the message be received first");
  if (!facts.info.locks.empty()) return refusal(facts, "a lock is held on it", "let the message be received first");
  return {};
}

Result<> capture_one(const Facts& facts, uint64_t id, CaptureContext& context) {
  for (const Kind* kind : kinds()) {
    if (!kind->recognises(facts, context)) continue;
    Description description;
    description.id = id;
    description.flags = static_cast<uint32_t>(TRY(sys::status_flags(facts.ours.get())) & ~O_CLOEXEC);
    if ((description.flags & O_PATH) == 0) TRY(record_owner(facts, context, description));
    TRY(refuse_leases(facts));
    if (!facts.waits_in.empty()) TRY(check_carried(facts, *kind));
    return kind->capture(facts, description, context);
  }
  return refuse_unknown(facts);
}

bool is_epoll(const Facts& facts) { return !facts.info.epoll.empty(); }

// Epoll sets come last: what they watch has its record then.
std::vector<const Facts*> in_order(std::vector<const Facts*> firsts) {
  std::stable_partition(firsts.begin(), firsts.end(), [](const Facts* facts) { return !is_epoll(*facts); });
  return firsts;
}

std::string where(const Facts& facts) { return fmt::format("pid {}: fd {}", facts.pid.number, facts.fd.number); }

// A refusal says so itself.
Error located(Error error, const Facts& facts) {
  if (error.kind() == ErrorKind::kRefused || error.kind() == ErrorKind::kNotNow) return error;
  return std::move(error).in(where(facts));
}

image::FileLock::Kind kind_of(proc::LockInfo::Kind seen) {
  switch (seen) {
    case proc::LockInfo::Kind::kFlock:
      return image::FileLock::Kind::kFlock;
    case proc::LockInfo::Kind::kOfd:
      return image::FileLock::Kind::kOfd;
    case proc::LockInfo::Kind::kLease:
      return image::FileLock::Kind::kLease;
    default:
      return image::FileLock::Kind::kPosix;
  }
}

// A POSIX lock belongs to the table: it shows in all processes that share that, with the number of the one that has
// taken it.
bool taken_by_sharer(const proc::LockInfo& lock, const Facts& facts, const CaptureContext& context) {
  auto other = context.by_number.find({lock.pid, facts.fd.number});
  if (other == context.by_number.end() || other->second == &facts) return false;
  return std::ranges::any_of(other->second->info.locks, [&](const proc::LockInfo& shown) {
    return shown.kind == lock.kind && shown.pid == lock.pid && shown.start == lock.start && shown.end == lock.end;
  });
}

// A lock shows at every descriptor of its description: it is recorded at the first, a POSIX lock at the first of each
// process.
std::vector<image::FileLock> locks_of(const Facts& facts, const CaptureContext& context, bool first_of_all,
                                      bool first_in_process) {
  std::vector<image::FileLock> locks;
  for (const proc::LockInfo& seen : facts.info.locks) {
    image::FileLock lock;
    lock.exclusive = seen.write;
    lock.start = seen.start;
    lock.length = seen.end ? *seen.end - seen.start + 1 : 0;
    bool posix = seen.kind == proc::LockInfo::Kind::kPosix;
    lock.kind = kind_of(seen.kind);
    if (posix ? first_in_process && !taken_by_sharer(seen, facts, context) : first_of_all) locks.push_back(lock);
  }
  return locks;
}

// What fdinfo shows is the description's own flags as well, and those of a terminal opened by TIOCGPTPEER may have it.
Result<bool> close_on_exec(const Facts& facts, CaptureContext& context) {
  if (!facts.info.close_on_exec() || !context.ask_close_on_exec || !facts.ours.valid())
    return facts.info.close_on_exec();
  if ((TRY(sys::status_flags(facts.ours.get())) & O_CLOEXEC) == 0) return true;
  return context.ask_close_on_exec(facts);
}

Result<> put_descriptors(std::span<const std::vector<Facts>> processes, CaptureContext& context) {
  std::set<uint64_t> seen;
  for (const std::vector<Facts>& process : processes) {
    std::set<uint64_t> seen_here;
    for (const Facts& facts : process) {
      image::DescriptorRecord record;
      record.pid = facts.job_pid.number;
      record.fd = facts.fd.number;
      record.close_on_exec = TRY(close_on_exec(facts, context));
      record.description = context.description_of.at({facts.pid.number, facts.fd.number});
      bool first_of_all = seen.insert(record.description).second;
      bool first_in_process = seen_here.insert(record.description).second;
      record.locks = locks_of(facts, context, first_of_all, first_in_process);
      TRY(put_record(context.sink, image::RecordType::kDescriptor, record));
    }
  }
  return {};
}

// The descriptors of those whose other end counts as gone.
void note_closed(std::span<const Facts> table, CaptureContext& context) {
  for (const Facts& facts : table) {
    auto found = context.cut_off.find(context.description_of.at({facts.pid.number, facts.fd.number}));
    if (found == context.cut_off.end()) continue;
    image::ClosedEndRecord record{
        .pid = facts.job_pid.number, .fd = facts.fd.number, .link = facts.link, .what = found->second};
    if (!facts.waits_in.empty())
      record.fd = -1, record.what = fmt::format("in a message that waits in {}: {}", facts.waits_in, record.what);
    context.closed.push_back(std::move(record));
  }
}

Result<> put_closed(CaptureContext& context) {
  constexpr bool kRequired = false;  // A restart does not ask for it.
  for (const image::ClosedEndRecord& record : context.closed)
    TRY(context.sink.put({image::RecordType::kClosedEnd, 1, kRequired, image::encode(record)}));
  return {};
}

}  // namespace

Result<> capture_descriptors(std::span<const std::vector<Facts>> processes, CaptureContext& context) {
  std::vector<Facts> queued = TRY(look_into_queues(processes, context));
  std::vector<const Facts*> firsts = TRY(number_descriptions(processes, queued, context));
  for (const Facts* facts : in_order(std::move(firsts))) {
    uint64_t id = context.description_of.at({facts->pid.number, facts->fd.number});
    Result<> captured = capture_one(*facts, id, context);
    if (!captured.has_value()) return located(std::move(captured).error(), *facts);
  }
  for (const std::vector<Facts>& process : processes) note_closed(process, context);
  note_closed(queued, context);
  TRY(put_closed(context));
  return put_descriptors(processes, context);
}

namespace {

class NoFiles final : public FileRegistry {
 public:
  Result<uint64_t> note(int, const struct stat&, std::string_view, bool, bool) override { return uint64_t{0}; }
};

class NoSharedMemory final : public SharedMemoryRegistry {
 public:
  Result<uint64_t> note(int, const struct stat&, std::string_view) override { return uint64_t{0}; }
};

}  // namespace

std::vector<Error> refusals(std::span<const std::vector<Facts>> processes,
                            const std::vector<OutsideStream>& outside_streams, uint64_t terminal_device) {
  image::NullSink sink;
  NoFiles files;
  NoSharedMemory shared_memory;
  CaptureContext context{.sink = sink, .files = files, .shared_memory = shared_memory};
  context.outside_streams = outside_streams;
  context.terminal_device = terminal_device;
  context.only_look = true;
  std::set<int> numbers;
  for (const std::vector<Facts>& process : processes)
    for (const Facts& facts : process) numbers.insert(facts.pid.number);
  context.job_number = [&](int number) { return numbers.contains(number) ? number : 0; };
  if (!numbers.empty())
    context.own_ipc = !sys::shares_namespace(tracee::living_thread(Pid{*numbers.begin()}), "ipc").value_or(true);
  std::vector<Error> errors;
  Result<std::vector<const Facts*>> firsts = number_descriptions(processes, {}, context);
  if (!firsts.has_value()) return {std::move(firsts).error()};
  for (const Facts* facts : in_order(std::move(*firsts))) {
    Result<> captured = capture_one(*facts, 1, context);
    if (!captured.has_value()) errors.push_back(located(std::move(captured).error(), *facts));
  }
  return errors;
}

}  // namespace stint::fd
