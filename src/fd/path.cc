#include "fd/path.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fd/table.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/procfs.h"

namespace stint::fd {
namespace {

constexpr std::string_view kDeleted = " (deleted)";
constexpr long kMessageQueues = 0x19800202;  // MQUEUE_MAGIC, in none of the headers

bool leads_to(const std::string& path, const struct stat& object) {
  Result<struct stat> there = sys::lstat(path);
  return there.has_value() && there->st_dev == object.st_dev && there->st_ino == object.st_ino;
}

// As we see the path, or as the process does: its mounts may differ from ours.
bool leads_to(const Facts& facts, const std::string& path) {
  return leads_to(path, facts.stat) || leads_to(sys::proc_path(facts.seen_as, "root") + path, facts.stat);
}

}  // namespace

std::vector<std::string> names_beside(const std::string& path, uint64_t inode) {
  std::vector<std::string> found;
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  Result<std::vector<std::string>> names = sys::list_directory(directory);
  if (!names.has_value()) return found;
  for (const std::string& name : *names) {
    Result<struct stat> there = sys::lstat(directory + name);
    if (there.has_value() && there->st_ino == inode) found.push_back(directory + name);
  }
  return found;
}

Result<FoundPath> find_path(const Facts& facts) {
  if (!facts.link.starts_with('/')) return refusal(facts, "has no path", "close it before the checkpoint");
  bool remark = facts.link.ends_with(kDeleted);
  std::string without = remark ? facts.link.substr(0, facts.link.size() - kDeleted.size()) : facts.link;
  if (facts.stat.st_nlink == 0) return FoundPath{.path = without, .unlinked = true};
  if (leads_to(facts, facts.link)) return FoundPath{.path = facts.link, .unlinked = false};
  if (remark) {
    for (const std::string& name : names_beside(without, facts.stat.st_ino))
      if (leads_to(facts, name)) return FoundPath{.path = name, .unlinked = false};
    return refusal(
        facts, "the name it was opened by is gone and it lives on in another directory, which the kernel does not tell",
        "link it back to " + without + ", or close it");
  }
  return refusal(facts, "another file has taken its name, or the name cannot be reached",
                 "put the file back to its name, or close it");
}

Result<FileSystem> file_system_of(const Facts& facts) {
  switch (TRY(sys::file_system_type(facts.ours.get()))) {
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
      return FileSystem::kKernel;
    case SECRETMEM_MAGIC:
    case TRACEFS_MAGIC:
    case DEBUGFS_MAGIC:
    case BPF_FS_MAGIC:
    case NSFS_MAGIC:
    case kMessageQueues:
      return FileSystem::kRefused;
    default:
      return FileSystem::kOrdinary;
  }
}

Result<bool> is_message_queue(const Facts& facts) {
  return TRY(sys::file_system_type(facts.ours.get())) == kMessageQueues;
}

Result<int> open_in(const std::string& path, int flags, uint64_t position, Receiver& holder) {
  tracee::Thread& leader = holder.process.representative();
  tracee::Table opening(holder.hands);
  uint64_t name = opening.in(bytes_of({path.c_str(), path.size() + 1}));
  size_t open = opening.must("open", SYS_openat, {static_cast<uint64_t>(AT_FDCWD), name, static_cast<uint64_t>(flags)});
  TRY(opening.run(leader, holder.process.seen_as()).in(path));
  uint64_t number = static_cast<uint64_t>(opening.result(open));
  if (position != 0) TRY(holder.hands.call(leader, "lseek", {SYS_lseek, {number, position, SEEK_SET}}).in(path));
  return static_cast<int>(number);
}

int reopen_flags(uint32_t recorded) {
  int once = O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC | O_ASYNC | (O_TMPFILE & ~O_DIRECTORY);
  return (static_cast<int>(recorded) & ~once) | O_NOCTTY;
}

}  // namespace stint::fd
