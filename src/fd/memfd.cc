// A memfd is a file without a name: shared memory that can be passed around. Its pages are saved with the other shared
// memory (mem/), because it is mostly mapped; here is only how this description stands in it.
#include <fcntl.h>
#include <linux/magic.h>

#include "fd/kinds.h"
#include "sys/descriptor.h"
#include "sys/inode.h"

namespace stint::fd {
namespace {

using image::MemfdRecord;

constexpr std::string_view kPrefix = "/memfd:";
constexpr std::string_view kDeleted = " (deleted)";

bool recognises(const Facts& facts, const CaptureContext&) {
  // A file named "/memfd:..." may have been unlinked, too; that one does not lie in the kernel's own tmpfs.
  if (!S_ISREG(facts.stat.st_mode) || facts.stat.st_nlink != 0) return false;
  if (!facts.link.starts_with(kPrefix) || !facts.link.ends_with(kDeleted)) return false;
  Result<long> type = sys::file_system_type(facts.ours.get());
  return type.has_value() && (*type == TMPFS_MAGIC || *type == HUGETLBFS_MAGIC);
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  MemfdRecord record;
  record.description = description;
  std::string_view name = facts.link;
  name = name.substr(kPrefix.size(), name.size() - kPrefix.size() - kDeleted.size());
  record.shared_memory = TRY(context.shared_memory.note(facts.ours.get(), facts.stat, name));
  record.position = TRY(sys::position(facts.ours.get()));
  return put_record(context.sink, kMemfd.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  MemfdRecord record = TRY(image::decode<MemfdRecord>(bytes));
  auto memory = context.shared_memory.find(record.shared_memory);
  if (memory == context.shared_memory.end()) return damaged("memfd record: its shared memory is not in the checkpoint");
  int access = static_cast<int>(record.description.flags) & O_ACCMODE;
  bool original = access == O_RDWR && context.shared_memory_taken.insert(record.shared_memory).second;
  sys::UniqueFd made = original ? TRY(sys::duplicate(memory->second)) : TRY(sys::reopen(memory->second, access));
  TRY(sys::set_position(made.get(), record.position));
  return made;
}

}  // namespace

const Kind kMemfd = {
    .name = "memfd",
    .kept = "content, size, seals, name, position",
    .refused = "never",
    .type = image::RecordType::kMemfd,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
