// The capture of descriptor tables. Which descriptors share an open file description the kernel tells by kcmp(2) only,
// two at a time; it gives an order, so that a sorted set needs n log n questions, and descriptors that differ in what
// can be seen anyway are not compared at all.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>

#include "fd/table.h"
#include "sys/descriptor.h"
#include "sys/inode.h"

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

// Gives every description a number, in the order in which their first descriptors come. Returns those first ones.
Result<std::vector<const Facts*>> number_descriptions(std::span<const std::vector<Facts>> processes,
                                                      CaptureContext& context) {
  std::optional<Error> failure;
  std::map<const Facts*, uint64_t, ByDescription> ids(ByDescription{&failure});
  std::vector<const Facts*> firsts;
  for (const std::vector<Facts>& process : processes) {
    for (const Facts& facts : process) {
      auto [place, fresh] = ids.try_emplace(&facts, firsts.size() + 1);
      if (failure) return std::move(*failure);
      if (fresh) firsts.push_back(&facts);
      std::pair<int, int> number{facts.pid.number, facts.fd.number};
      context.by_number[number] = &facts;
      context.description_of[number] = place->second;
      context.by_inode.emplace(facts.stat.st_ino, &facts);
    }
  }
  return firsts;
}

Result<> record_owner(const Facts& facts, const CaptureContext& context, Description& description) {
  f_owner_ex owner = TRY(sys::owner(facts.ours.get()));
  description.signal = TRY(sys::signal_of(facts.ours.get()));
  if (owner.pid == 0) return {};
  description.owner_type = owner.type;
  if (owner.pid == facts.pid.number) {
    description.owner = facts.job_pid.number;
  } else if (context.job_number) {
    description.owner = context.job_number(owner.pid);
  }
  if (description.owner == 0)
    return refusal(facts, fmt::format("its signals (F_SETOWN) go to {}, which is not in the job", owner.pid),
                   "give it another owner, or none");
  return {};
}

Result<> refuse_lease(const Facts& facts) {
  using Kind = proc::LockInfo::Kind;
  for (const proc::LockInfo& lock : facts.info.locks) {
    if (lock.kind == Kind::kPosix || lock.kind == Kind::kFlock || lock.kind == Kind::kOfd) continue;
    return refusal(facts, "a lease (F_SETLEASE) is held on it", "give the lease back (F_UNLCK) before the checkpoint");
  }
  return {};
}

Result<> capture_one(const Facts& facts, uint64_t id, CaptureContext& context) {
  for (const Kind* kind : kinds()) {
    if (!kind->recognises(facts, context)) continue;
    Description description;
    description.id = id;
    description.flags = static_cast<uint32_t>(TRY(sys::status_flags(facts.ours.get())) & ~O_CLOEXEC);
    if ((description.flags & O_PATH) == 0) TRY(record_owner(facts, context, description));
    TRY(refuse_lease(facts));
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
  if (error.kind() == ErrorKind::kRefused) return error;
  return std::move(error).in(where(facts));
}

// A lock shows at every descriptor of its description: it is recorded at the first, a POSIX lock at the first of each
// process.
std::vector<image::FileLock> locks_of(const Facts& facts, bool first_of_all, bool first_in_process) {
  std::vector<image::FileLock> locks;
  for (const proc::LockInfo& seen : facts.info.locks) {
    image::FileLock lock;
    lock.exclusive = seen.write;
    lock.start = seen.start;
    lock.length = seen.end ? *seen.end - seen.start + 1 : 0;
    bool posix = seen.kind == proc::LockInfo::Kind::kPosix;
    if (!posix)
      lock.kind =
          seen.kind == proc::LockInfo::Kind::kFlock ? image::FileLock::Kind::kFlock : image::FileLock::Kind::kOfd;
    if (posix ? first_in_process : first_of_all) locks.push_back(lock);
  }
  return locks;
}

Result<> put_descriptors(std::span<const std::vector<Facts>> processes, CaptureContext& context) {
  std::set<uint64_t> seen;
  for (const std::vector<Facts>& process : processes) {
    std::set<uint64_t> seen_here;
    for (const Facts& facts : process) {
      image::DescriptorRecord record;
      record.pid = facts.job_pid.number;
      record.fd = facts.fd.number;
      record.close_on_exec = facts.info.close_on_exec();
      record.description = context.description_of.at({facts.pid.number, facts.fd.number});
      bool first_of_all = seen.insert(record.description).second;
      bool first_in_process = seen_here.insert(record.description).second;
      record.locks = locks_of(facts, first_of_all, first_in_process);
      TRY(put_record(context.sink, image::RecordType::kDescriptor, record));
    }
  }
  return {};
}

}  // namespace

Result<> capture_descriptors(std::span<const std::vector<Facts>> processes, CaptureContext& context) {
  std::vector<const Facts*> firsts = TRY(number_descriptions(processes, context));
  for (const Facts* facts : in_order(std::move(firsts))) {
    uint64_t id = context.description_of.at({facts->pid.number, facts->fd.number});
    Result<> captured = capture_one(*facts, id, context);
    if (!captured.has_value()) return located(std::move(captured).error(), *facts);
  }
  return put_descriptors(processes, context);
}

namespace {

// Takes everything and keeps nothing: only whether it would be refused counts.
class NoSink final : public image::Sink {
 public:
  Result<> put(image::Record) override { return {}; }
  Result<std::unique_ptr<image::PageBuffer>> page_buffer() override { return failed("no pages here"); }
  Result<> put_pages(std::vector<image::PageRun>, std::unique_ptr<image::PageBuffer>) override { return {}; }
  Result<> commit() override { return {}; }
};

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
  NoSink sink;
  NoFiles files;
  NoSharedMemory shared_memory;
  CaptureContext context{.sink = sink, .files = files, .shared_memory = shared_memory};
  context.outside_streams = outside_streams;
  context.terminal_device = terminal_device;
  context.only_look = true;
  std::vector<Error> errors;
  Result<std::vector<const Facts*>> firsts = number_descriptions(processes, context);
  if (!firsts.has_value()) return {std::move(firsts).error()};
  for (const Facts* facts : in_order(std::move(*firsts))) {
    Result<> captured = capture_one(*facts, 1, context);
    if (!captured.has_value()) errors.push_back(located(std::move(captured).error(), *facts));
  }
  return errors;
}

}  // namespace stint::fd
