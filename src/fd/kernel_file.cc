// A file that the kernel makes up when it is read: /proc/self/maps, /proc/meminfo, /sys/..., a cgroup's. It holds
// nothing but a position; opened again by its path it shows the restored process, whichever of the job that is.
#include <fcntl.h>

#include "fd/kernel_path.h"
#include "fd/kinds.h"
#include "fd/path.h"
#include "sys/descriptor.h"
#include "sys/file.h"

namespace stint::fd {
namespace {

using image::KernelFileRecord;

bool recognises(const Facts& facts, const CaptureContext&) {
  if (!S_ISREG(facts.stat.st_mode) || !facts.link.starts_with('/')) return false;
  Result<FileSystem> where = file_system_of(facts);
  return where.has_value() && *where == FileSystem::kKernel;
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  KernelFileRecord record;
  record.description = description;
  record.path = TRY(find_kernel_path(facts, context));
  // Some of these files cannot be positioned at all: they always stand at 0.
  if ((description.flags & O_PATH) == 0) record.position = facts.info.pos;
  // Mappings may be listed differently after a restart (two that are alike have become one): half a list would not fit.
  if (record.position != 0 && record.path.ends_with("maps"))
    return passing_refusal(facts, "is read half way", "close it, or try again when it is closed");
  return put_record(context.sink, kKernelFile.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  KernelFileRecord record = TRY(image::decode<KernelFileRecord>(bytes));
  sys::UniqueFd file = TRY(open_kernel_path(record.path, reopen_flags(record.description.flags), context.maker));
  if (record.position != 0) TRY(sys::set_position(file.get(), record.position).in(record.path));
  return file;
}

bool is_late(ByteView bytes, JobPid maker) {
  Result<KernelFileRecord> record = image::decode<KernelFileRecord>(bytes);
  return record.has_value() && shows_another_process(record->path, maker);
}

Result<int> make_in(ByteView bytes, Receiver& holder) {
  KernelFileRecord record = TRY(image::decode<KernelFileRecord>(bytes));
  return open_in(record.path, reopen_flags(record.description.flags), record.position, holder).as(ErrorKind::kUnfit);
}

}  // namespace

const Kind kKernelFile = {
    .name = "file in /proc, /sys or a cgroup",
    .kept = "position; shows the restored process, also another one of the job",
    .refused = "it shows a process outside of the job, or a single thread; it is in debugfs or tracefs",
    .type = image::RecordType::kKernelFile,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
    .is_late = is_late,
    .make_in = make_in,
};

}  // namespace stint::fd
