// An open directory. Its position is a cookie of the file system, which means the same to the same directory later; the
// entries that libc has read ahead are in the program's memory. Not kept: F_NOTIFY, which the kernel does not show.
#include <fcntl.h>

#include "fd/kernel_path.h"
#include "fd/kinds.h"
#include "fd/path.h"
#include "sys/descriptor.h"
#include "sys/file.h"

namespace stint::fd {
namespace {

using image::DirectoryRecord;

bool recognises(const Facts& facts, const CaptureContext&) {
  return S_ISDIR(facts.stat.st_mode) && facts.link.starts_with('/');
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  DirectoryRecord record;
  record.description = description;
  FileSystem where = TRY(file_system_of(facts));
  if (where == FileSystem::kKernel) {
    record.path = TRY(find_kernel_path(facts, context));
  } else {
    FoundPath found = TRY(find_path(facts));
    if (found.unlinked)
      return refusal(facts, "is a directory that was removed", "leave it (close it, or chdir elsewhere)");
    record.path = found.path;
  }
  if ((description.flags & O_PATH) == 0) record.position = TRY(sys::position(facts.ours.get()));
  return put_record(context.sink, kDirectory.type, record);
}

int flags_of(const DirectoryRecord& record) { return reopen_flags(record.description.flags) | O_DIRECTORY; }

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  DirectoryRecord record = TRY(image::decode<DirectoryRecord>(bytes));
  int flags = flags_of(record);
  sys::UniqueFd directory = TRY(open_kernel_path(record.path, flags, context.maker));
  if ((flags & O_PATH) == 0) TRY(sys::set_position(directory.get(), record.position).in(record.path));
  return directory;
}

bool is_late(ByteView bytes, JobPid maker) {
  Result<DirectoryRecord> record = image::decode<DirectoryRecord>(bytes);
  return record.has_value() && shows_another_process(record->path, maker);
}

Result<int> make_in(ByteView bytes, Receiver& holder) {
  DirectoryRecord record = TRY(image::decode<DirectoryRecord>(bytes));
  return open_in(record.path, flags_of(record), record.position, holder).as(ErrorKind::kUnfit);
}

}  // namespace

const Kind kDirectory = {
    .name = "directory",
    .kept = "position, O_PATH",
    .refused = "it was removed, or its name now leads to another one",
    .type = image::RecordType::kDirectory,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
    .is_late = is_late,
    .make_in = make_in,
};

}  // namespace stint::fd
