// Descriptors put back, in the process that will have them. Its numbers are taken, by a placeholder, before anything is
// made: so whatever the kinds open lands on other numbers, and nothing has to be moved out of the way twice.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <set>

#include "fd/table.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/inode.h"

namespace stint::fd {
namespace {

using image::Description;
using image::DescriptorRecord;
using image::Record;
using image::RecordType;

constexpr int kSettable = O_APPEND | O_ASYNC | O_DIRECT | O_NOATIME | O_NONBLOCK;

Result<std::vector<DescriptorRecord>> descriptors_of(const image::Source& source, JobPid pid) {
  std::vector<DescriptorRecord> descriptors;
  for (const Record& record : source.records()) {
    if (record.type != RecordType::kDescriptor) continue;
    DescriptorRecord descriptor = TRY(image::decode<DescriptorRecord>(record.payload));
    if (descriptor.fd < 0) return damaged("descriptor record: a negative number");
    if (descriptor.pid == pid.number) descriptors.push_back(std::move(descriptor));
  }
  return descriptors;
}

// A description that has to be made: its record and kind.
struct Wanted {
  Description description;
  const Kind* kind;
  const Record* record;
  int fd = -1;  // once it is made: on none of the process's numbers
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

Result<std::vector<Wanted>> wanted_by(const std::vector<DescriptorRecord>& descriptors, const image::Source& source,
                                      const RestoreContext& context) {
  std::set<uint64_t> ids;
  for (const DescriptorRecord& descriptor : descriptors) ids.insert(descriptor.description);
  for (const auto& [id, fd] : context.made) ids.erase(id);
  std::vector<Wanted> wanted;
  for (const Record& record : source.records()) {
    const Kind* kind = kind_of(record.type);
    if (kind == nullptr) continue;
    Description description = TRY(description_in(record, *kind));
    if (ids.erase(description.id) != 0) wanted.push_back({.description = description, .kind = kind, .record = &record});
  }
  if (!ids.empty()) return damaged(fmt::format("descriptor record: there is no description {}", *ids.begin()));
  return wanted;
}

std::string where(const std::vector<DescriptorRecord>& descriptors, const Wanted& wanted) {
  for (const DescriptorRecord& descriptor : descriptors)
    if (descriptor.description == wanted.description.id)
      return fmt::format("fd {} ({})", descriptor.fd, wanted.kind->name);
  return wanted.kind->name;
}

Result<> take_numbers(const std::vector<DescriptorRecord>& descriptors, std::span<const int> keep) {
  if (descriptors.empty()) return {};
  int highest = 0;
  for (const DescriptorRecord& descriptor : descriptors) {
    highest = std::max(highest, descriptor.fd);
    CHECK(std::find(keep.begin(), keep.end(), descriptor.fd) == keep.end());
  }
  int working = static_cast<int>(descriptors.size()) * 2 + 256;
  TRY(sys::allow_descriptor(highest + working));
  // Opened first, it may itself stand on a number that the process will have.
  sys::UniqueFd null = TRY(sys::open("/dev/null", O_RDONLY));
  sys::UniqueFd placeholder = TRY(sys::duplicate(null.get(), highest + 1));
  null.reset();
  for (const DescriptorRecord& descriptor : descriptors) TRY(sys::duplicate_to(placeholder.get(), descriptor.fd, true));
  return {};
}

Result<> set_status(const Wanted& wanted) {
  int now = TRY(sys::status_flags(wanted.fd));
  if ((now & O_PATH) != 0) return {};
  int settable = wanted.kind->shared_with_outside ? O_NONBLOCK : kSettable;
  int then = (now & ~settable) | (static_cast<int>(wanted.description.flags) & settable);
  if (then != now) TRY(sys::set_status_flags(wanted.fd, then));
  if (wanted.description.owner != 0)
    TRY(sys::set_owner(
        wanted.fd, {.type = static_cast<__pid_type>(wanted.description.owner_type), .pid = wanted.description.owner}));
  if (wanted.description.signal != 0) TRY(sys::set_signal_of(wanted.fd, wanted.description.signal));
  return {};
}

Result<> close_others(const std::vector<DescriptorRecord>& descriptors, std::span<const int> keep) {
  std::set<int> stay(keep.begin(), keep.end());
  for (const DescriptorRecord& descriptor : descriptors) stay.insert(descriptor.fd);
  unsigned next = 0;
  for (int number : stay) {
    if (static_cast<unsigned>(number) > next) TRY(sys::close_range(next, static_cast<unsigned>(number) - 1));
    next = static_cast<unsigned>(number) + 1;
  }
  return sys::close_range(next, ~0u);
}

Result<std::vector<PosixLock>> take_locks(const std::vector<DescriptorRecord>& descriptors) {
  std::vector<PosixLock> posix;
  for (const DescriptorRecord& descriptor : descriptors) {
    for (const image::FileLock& lock : descriptor.locks) {
      TRY(take_lock(descriptor.fd, lock).in(fmt::format("fd {}", descriptor.fd)));
      if (lock.kind == image::FileLock::Kind::kPosix) posix.push_back({.fd = descriptor.fd, .lock = lock});
    }
  }
  return posix;
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

Result<std::vector<int>> numbers_of(const image::Source& source, JobPid pid) {
  std::vector<int> numbers;
  for (const DescriptorRecord& descriptor : TRY(descriptors_of(source, pid))) numbers.push_back(descriptor.fd);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Result<std::map<int, int>> make_room(const image::Source& source, JobPid pid, std::span<const int> keep) {
  std::vector<int> numbers = TRY(numbers_of(source, pid));
  int above = numbers.empty() ? 0 : numbers.back() + 1;
  TRY(sys::allow_descriptor(above + static_cast<int>(keep.size()) + 256));
  std::map<int, int> moved;
  for (int number : keep) {
    if (!std::binary_search(numbers.begin(), numbers.end(), number) || moved.contains(number)) continue;
    moved[number] = TRY(sys::duplicate(number, above)).release();
    sys::UniqueFd old(number);
  }
  return moved;
}

Result<std::vector<PosixLock>> restore_descriptors(const image::Source& source, RestoreContext& context, JobPid pid,
                                                   std::span<const int> keep) {
  std::vector<DescriptorRecord> descriptors = TRY(descriptors_of(source, pid));
  std::vector<Wanted> wanted = TRY(wanted_by(descriptors, source, context));
  TRY(take_numbers(descriptors, keep));
  for (Wanted& one : wanted) {
    one.fd = TRY(one.kind->restore(one.record->payload, context).in(where(descriptors, one))).release();
    context.made[one.description.id] = one.fd;
    TRY(set_status(one).in(where(descriptors, one)));
  }
  for (const DescriptorRecord& descriptor : descriptors)
    TRY(sys::duplicate_to(context.made.at(descriptor.description), descriptor.fd, descriptor.close_on_exec));
  for (const Wanted& one : wanted) {
    if (one.kind->finish == nullptr) continue;
    TRY(one.kind->finish(one.record->payload, one.fd, context).in(where(descriptors, one)));
  }
  context.pipes.clear();
  context.socket_pairs.clear();
  context.fifos.clear();
  for (const DescriptorRecord& descriptor : descriptors) context.made[descriptor.description] = descriptor.fd;
  TRY(close_others(descriptors, keep));
  return take_locks(descriptors);
}

}  // namespace stint::fd
