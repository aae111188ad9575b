// Descriptors put back. One process, the maker, makes every description of the job, and all others inherit its numbers:
// so a description is made once, however many processes share it. A number that means one description to every process
// that has it is where the maker makes that one; all others it makes at numbers that no process uses. So nothing ever
// stands in the way of a number that is wanted, and the maker needs hardly more numbers than the job had. Each process
// then gets the rest of its own table by injected dup3(2), and closes what is not its own.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>
#include <set>

#include "fd/pty.h"
#include "fd/table.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/inode.h"
#include "sys/process.h"
#include "sys/procfs.h"
#include "sys/ptrace.h"
#include "sys/pty.h"
#include "tracee/first_thread.h"

namespace stint::fd {
namespace {

using image::Description;
using image::DescriptorRecord;
using image::Record;
using image::RecordType;

constexpr int kSettable = O_APPEND | O_ASYNC | O_DIRECT | O_NOATIME | O_NONBLOCK;
constexpr int kWorkingNumbers = 256;  // that the kinds may use at a time

// A description that has to be made: its record and kind.
struct Wanted {
  Description description;
  const Kind* kind;
  const Record* record;
  std::string title;    // how an error calls it
  int fd = -1;          // once it is made
  int own_number = -1;  // where every process that has the number has it; -1 for none, or where the maker has one open
};

// Every record of a kind begins with its Description.
Result<Description> description_in(const Record& record, const Kind& kind) {
  if (record.payload.size() < Description::kEncodedSize)
    return damaged(std::string(kind.name) + " record is cut short");
  Description description;
  image::Decoder decoder(ByteView(record.payload).first(Description::kEncodedSize));
  description.fields(decoder);
  TRY(decoder.finish().in(kind.name));
  return description;
}

// The first descriptor of each description.
std::map<uint64_t, const DescriptorRecord*> first_descriptors(const Tables& tables) {
  std::map<uint64_t, const DescriptorRecord*> first;
  for (const auto& [pid, table] : tables)
    for (const DescriptorRecord& descriptor : table) first.try_emplace(descriptor.description, &descriptor);
  return first;
}

// In the order of the records, which is that in which they can be made. Those that are in no table wait in a message.
Result<std::vector<Wanted>> wanted_by(const Tables& tables, const image::Source& source, RestoreContext& context) {
  std::map<uint64_t, const DescriptorRecord*> missing = first_descriptors(tables);
  for (const auto& [id, fd] : context.made) missing.erase(id);
  std::vector<Wanted> wanted;
  for (const Record& record : source.records()) {
    const Kind* kind = kind_of(record.type);
    if (kind == nullptr) continue;
    Description description = TRY(description_in(record, *kind));
    if (context.made.contains(description.id)) continue;
    auto first = missing.find(description.id);
    bool late = kind->is_late != nullptr && kind->is_late(record.payload, context.maker);
    std::string title = first == missing.end()
                            ? fmt::format("a {} in a message", kind->name)
                            : fmt::format("pid {}: fd {} ({})", first->second->pid, first->second->fd, kind->name);
    if (late) context.late.insert(description.id);
    if (!late) wanted.push_back({description, kind, &record, std::move(title)});
    if (first != missing.end()) missing.erase(first);
  }
  if (!missing.empty())
    return damaged(fmt::format("descriptor record: there is no description {}", missing.begin()->first));
  return wanted;
}

// Where each description can be made at once: the lowest number that is its alone.
std::map<uint64_t, int> own_numbers(const Tables& tables) {
  constexpr uint64_t kSeveral = 0;
  std::map<int, uint64_t> means;
  for (const auto& [pid, table] : tables)
    for (const DescriptorRecord& descriptor : table) {
      auto [at, fresh] = means.try_emplace(descriptor.fd, descriptor.description);
      if (!fresh && at->second != descriptor.description) at->second = kSeveral;
    }
  std::map<uint64_t, int> numbers;
  for (auto [number, description] : means)
    if (description != kSeveral) numbers.try_emplace(description, number);
  return numbers;
}

// Keeps these numbers from the kinds, which work with whatever number is free.
Result<> reserve_own_numbers(const Tables& tables, std::vector<Wanted>& wanted) {
  std::map<uint64_t, int> numbers = own_numbers(tables);
  sys::UniqueFd placeholder = TRY(sys::open("/dev/null", O_PATH));
  for (Wanted& one : wanted) {
    auto number = numbers.find(one.description.id);
    if (number == numbers.end() || TRY(sys::descriptor_flags(number->second)).has_value()) continue;
    one.own_number = number->second;
    TRY(sys::duplicate_to(placeholder.get(), one.own_number, true));
  }
  return {};
}

Result<int> put_in_place(const Wanted& one, sys::UniqueFd made, int floor) {
  if (one.own_number < 0) return TRY(sys::duplicate(made.get(), floor)).release();
  TRY(sys::duplicate_to(made.get(), one.own_number, true));
  return one.own_number;
}

Result<> set_status(const Wanted& wanted) {
  int now = TRY(sys::status_flags(wanted.fd));
  if ((now & O_PATH) != 0) return {};
  int settable = wanted.kind->shared_with_outside ? O_NONBLOCK : kSettable;
  int then = (now & ~settable) | (static_cast<int>(wanted.description.flags) & settable);
  if (then != now) TRY(sys::set_status_flags(wanted.fd, then));
  if (wanted.description.signal != 0) TRY(sys::set_signal_of(wanted.fd, wanted.description.signal));
  return {};
}

// The others are taken by whoever has the descriptor: POSIX locks are the process's, and a lease tells its signal which
// number it was taken under.
bool belongs_to_description(const image::FileLock& lock) {
  return lock.kind == image::FileLock::Kind::kFlock || lock.kind == image::FileLock::Kind::kOfd;
}

Result<> take_locks_of_descriptions(const Tables& tables, const std::map<uint64_t, int>& made) {
  for (const auto& [pid, table] : tables)
    for (const DescriptorRecord& descriptor : table)
      for (const image::FileLock& lock : descriptor.locks) {
        if (!belongs_to_description(lock)) continue;
        auto found = made.find(descriptor.description);
        if (found == made.end()) return damaged("descriptor record: a lock on what cannot be locked");
        TRY(take_lock(found->second, lock).in(fmt::format("pid {}: fd {}", pid, descriptor.fd)));
      }
  return {};
}

}  // namespace

Result<> take_lock(int fd, const image::FileLock& lock) {
  bool whole = lock.kind == image::FileLock::Kind::kFlock;
  bool of_description = lock.kind == image::FileLock::Kind::kOfd;
  Result<> taken = whole ? sys::lock_whole(fd, lock.exclusive)
                         : sys::lock_range(fd, of_description, lock.exclusive, lock.start, lock.length);
  if (taken.has_value() || (taken.error().os_errno() != EAGAIN && taken.error().os_errno() != EACCES)) return taken;
  return unfit("the file is locked by another process, and the job held a lock on it: end that process");
}

Result<Tables> read_tables(const image::Source& source) {
  Tables tables;
  for (const Record& record : source.records()) {
    if (record.type != RecordType::kDescriptor) continue;
    DescriptorRecord descriptor = TRY(image::decode<DescriptorRecord>(record.payload));
    if (descriptor.fd < 0) return damaged("descriptor record: a negative number");
    tables[descriptor.pid].push_back(std::move(descriptor));
  }
  for (auto& [pid, table] : tables) {
    std::ranges::sort(table, {}, &DescriptorRecord::fd);
    if (std::ranges::adjacent_find(table, {}, &DescriptorRecord::fd) != table.end())
      return damaged(fmt::format("descriptor record: process {} has a number twice", pid));
  }
  return tables;
}

int first_free_number(const Tables& tables) {
  int floor = 3;
  for (const auto& [pid, table] : tables)
    if (!table.empty()) floor = std::max(floor, table.back().fd + 1);
  return floor;
}

Result<std::map<uint64_t, int>> make_descriptions(const image::Source& source, RestoreContext& context,
                                                  const Tables& tables, int floor) {
  std::vector<Wanted> wanted = TRY(wanted_by(tables, source, context));
  TRY(reserve_own_numbers(tables, wanted));
  long others = std::ranges::count(wanted, -1, &Wanted::own_number);
  TRY(sys::allow_descriptor(floor + static_cast<int>(others) + static_cast<int>(context.controlling.size()) +
                            kWorkingNumbers));
  for (Wanted& one : wanted) {
    sys::UniqueFd made = TRY(one.kind->restore(one.record->payload, context).in(one.title));
    one.fd = TRY(put_in_place(one, std::move(made), floor));
    context.made[one.description.id] = one.fd;
    TRY(set_status(one).in(one.title));
  }
  for (auto& [number, slave] : context.controlling) {
    int master = TRY(restored_master(number, context));
    slave = TRY(sys::duplicate(TRY(sys::open_pty_peer(master, O_RDWR | O_NONBLOCK)).get(), floor)).release();
  }
  for (const Wanted& one : wanted)
    if (one.kind->finish != nullptr) TRY(one.kind->finish(one.record->payload, one.fd, context).in(one.title));
  context.pipes.clear();
  context.unix_sockets.reset();
  context.fifos.clear();
  context.ptys.clear();
  context.tcp.reset();
  TRY(take_locks_of_descriptions(tables, context.made));
  return context.made;
}

namespace {

const Record* find_record(const image::Source& source, uint64_t id, const Kind** kind) {
  for (const Record& record : source.records()) {
    *kind = kind_of(record.type);
    if (*kind == nullptr) continue;
    Result<Description> description = description_in(record, **kind);
    if (description.has_value() && description->id == id) return &record;
  }
  return nullptr;
}

// What is between the numbers of a table, and behind them: to be closed.
void close_the_rest(tracee::Table& calls, const std::vector<DescriptorRecord>& table) {
  uint64_t next = 0;
  for (const DescriptorRecord& descriptor : table) {
    uint64_t number = static_cast<uint64_t>(descriptor.fd);
    if (number > next) calls.must("close_range", SYS_close_range, {next, number - 1, 0});
    next = number + 1;
  }
  calls.must("close_range", SYS_close_range, {next, ~0u, 0});
}

}  // namespace

Result<int> Distribution::make_late(Receiver& receiver, uint64_t description) {
  auto made = late_.find(description);
  if (made != late_.end()) return fetch_late(receiver, made->second.first, made->second.second);
  const Kind* kind = nullptr;
  const Record* record = find_record(source_, description, &kind);
  if (record == nullptr || kind->make_in == nullptr)
    return damaged(fmt::format("descriptor record: there is no description {}", description));
  return kind->make_in(record->payload, receiver);
}

// Another process of the job has it by now: a duplicate of its descriptor.
Result<int> Distribution::fetch_late(Receiver& receiver, JobPid holder, int number) {
  tracee::Thread& leader = receiver.process.representative();
  uint64_t pid = static_cast<uint64_t>(holder.number);
  uint64_t pidfd = static_cast<uint64_t>(TRY(receiver.hands.call(leader, "pidfd_open", {SYS_pidfd_open, {pid, 0}})));
  int64_t got =
      TRY(receiver.hands.call(leader, "pidfd_getfd", {SYS_pidfd_getfd, {pidfd, static_cast<uint64_t>(number), 0}}));
  TRY(receiver.hands.call(leader, "close", {SYS_close, {pidfd}}));
  return static_cast<int>(got);
}

Result<> Distribution::give(Receiver& receiver) {
  static const std::vector<DescriptorRecord> kEmpty;
  auto found = tables_.find(receiver.pid.number);
  const std::vector<DescriptorRecord>& table = found == tables_.end() ? kEmpty : found->second;
  std::map<uint64_t, int> late;  // of this process: on numbers from floor_ on
  for (const DescriptorRecord& descriptor : table) {
    if (made_.contains(descriptor.description) || late.contains(descriptor.description)) continue;
    int number = TRY(make_late(receiver, descriptor.description).in(fmt::format("fd {}", descriptor.fd)));
    tracee::Call raise{SYS_fcntl, {static_cast<uint64_t>(number), F_DUPFD_CLOEXEC, static_cast<uint64_t>(floor_)}};
    late[descriptor.description] =
        static_cast<int>(TRY(receiver.hands.call(receiver.process.representative(), "F_DUPFD_CLOEXEC", raise)));
    late_.try_emplace(descriptor.description, receiver.pid, descriptor.fd);
  }
  tracee::Table calls(receiver.hands);
  for (const DescriptorRecord& descriptor : table) {
    auto own = late.find(descriptor.description);
    int made = own != late.end() ? own->second : made_.at(descriptor.description);
    uint64_t from = static_cast<uint64_t>(made), to = static_cast<uint64_t>(descriptor.fd);
    if (from == to)
      calls.must("F_SETFD", SYS_fcntl, {to, F_SETFD, descriptor.close_on_exec ? uint64_t{FD_CLOEXEC} : 0});
    else
      calls.must("dup3", SYS_dup3, {from, to, descriptor.close_on_exec ? uint64_t{O_CLOEXEC} : 0});
  }
  close_the_rest(calls, table);
  TRY(calls.run(receiver.process.representative(), receiver.process.seen_as()));
  TRY(set_owners(receiver, table));
  for (const DescriptorRecord& descriptor : table)
    given_.try_emplace(descriptor.description, receiver.process.pid(), RemoteFd{descriptor.fd});
  return take_locks(receiver, table);
}

Result<> Distribution::give_shared(Receiver& receiver) {
  auto table = tables_.find(receiver.pid.number);
  return table == tables_.end() ? Result<>() : take_locks(receiver, table->second);
}

Result<> Distribution::settle() {
  LastLook job;
  job.description = [&](uint64_t id) -> Result<sys::UniqueFd> {
    auto given = given_.find(id);
    if (given == given_.end()) return sys::UniqueFd();
    sys::UniqueFd process = TRY(sys::pidfd_of_thread(tracee::living_thread(given->second.first)));
    return sys::pidfd_getfd(process.get(), given->second.second);
  };
  for (const Record& record : source_.records()) {
    const Kind* kind = kind_of(record.type);
    if (kind == nullptr || kind->settle == nullptr) continue;
    uint64_t id = TRY(description_in(record, *kind)).id;
    sys::UniqueFd ours = TRY(job.description(id));
    if (!ours.valid()) continue;  // It waits in a message.
    Pid holder = tracee::living_thread(given_.at(id).first);
    job.root = sys::proc_path(holder, "root");
    TRY(kind->settle(record.payload, ours.get(), job).in(kind->name));
  }
  return {};
}

// F_SETOWN_EX, by the first process that has the description: whose signals they are must be there by now.
Result<> Distribution::set_owners(Receiver& receiver, const std::vector<DescriptorRecord>& table) {
  for (const DescriptorRecord& descriptor : table) {
    auto owner = owners_.find(descriptor.description);
    if (owner == owners_.end()) continue;
    tracee::Table calls(receiver.hands);
    f_owner_ex value{static_cast<__pid_type>(owner->second.owner_type), owner->second.owner};
    calls.must("F_SETOWN_EX", SYS_fcntl, {static_cast<uint64_t>(descriptor.fd), F_SETOWN_EX, calls.in(value)});
    TRY(calls.run(receiver.process.representative(), receiver.process.seen_as())
            .in(fmt::format("fd {}", descriptor.fd)));
    owners_.erase(owner);
  }
  return {};
}

namespace {

Result<> take_in(Receiver& receiver, int fd, const image::FileLock& saved) {
  bool lease = saved.kind == image::FileLock::Kind::kLease;
  uint64_t type = saved.exclusive ? F_WRLCK : F_RDLCK;
  tracee::Table calls(receiver.hands);
  struct flock lock{};
  lock.l_type = static_cast<short>(type);
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(saved.start), lock.l_len = static_cast<off_t>(saved.length);
  uint64_t number = static_cast<uint64_t>(fd);
  size_t set = lease ? calls.ask(SYS_fcntl, {number, F_SETLEASE, type})
                     : calls.ask(SYS_fcntl, {number, F_SETLK, calls.in(lock)});
  TRY(calls.run(receiver.process.representative(), receiver.process.seen_as()));
  int64_t result = calls.result(set);
  if (result == -EAGAIN || result == -EACCES)
    return unfit(fmt::format("the file is {} by another process, and the job held a {} on it: end that process",
                             lease ? "open" : "locked", lease ? "lease" : "lock"));
  return result < 0 ? os_error(lease ? "F_SETLEASE" : "F_SETLK", static_cast<int>(-result)) : Result<>();
}

}  // namespace

// A POSIX lock goes when any descriptor of the file is closed: so it comes last.
Result<> Distribution::take_locks(Receiver& receiver, const std::vector<DescriptorRecord>& table) {
  for (const DescriptorRecord& descriptor : table)
    for (const image::FileLock& saved : descriptor.locks)
      if (!belongs_to_description(saved))
        TRY(take_in(receiver, descriptor.fd, saved).in(fmt::format("fd {}", descriptor.fd)));
  return {};
}

Result<Distribution> Distribution::make(const image::Source& source, const Tables& tables,
                                        const std::map<uint64_t, int>& made, int floor) {
  Distribution distribution(source, tables, made, floor);
  for (const Record& record : source.records()) {
    const Kind* kind = kind_of(record.type);
    if (kind == nullptr) continue;
    Description description = TRY(description_in(record, *kind));
    if (description.owner != 0) distribution.owners_[description.id] = description;
  }
  return distribution;
}

}  // namespace stint::fd
