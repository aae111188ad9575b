// A regular file that is open. /proc shows its present name, F_GETFL how it was opened, lseek(2) on our duplicate where
// it stands. What the file holds is the affair of files/; an unlinked file's content is kept there too. O_CREAT, O_EXCL
// and O_TRUNC are never given again. Not kept: the read-ahead advice of posix_fadvise(2).
#include <fcntl.h>

#include "fd/kinds.h"
#include "fd/path.h"
#include "sys/descriptor.h"

namespace stint::fd {
namespace {

using image::RegularFileRecord;

bool recognises(const Facts& facts, const CaptureContext&) {
  if (!S_ISREG(facts.stat.st_mode) || !facts.link.starts_with('/')) return false;
  Result<FileSystem> where = file_system_of(facts);
  return where.has_value() && *where == FileSystem::kOrdinary;
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  FoundPath found = TRY(find_path(facts));
  RegularFileRecord record;
  record.description = description;
  record.path = found.path;
  if (context.asked_for) record.asked_for = context.asked_for(facts);
  bool path_only = (description.flags & O_PATH) != 0;
  if (!path_only) record.position = TRY(sys::position(facts.ours.get()));
  bool written = !path_only && (description.flags & O_ACCMODE) != O_RDONLY;
  record.file_state = TRY(context.files.note(facts.ours.get(), facts.stat, found.path, found.unlinked, written));
  return put_record(context.sink, kRegularFile.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  RegularFileRecord record = TRY(image::decode<RegularFileRecord>(bytes));
  CHECK(context.open_file != nullptr);
  int flags = reopen_flags(record.description.flags) & ~O_DIRECTORY;
  sys::UniqueFd file = TRY(context.open_file(record.file_state, flags).in(record.path));
  if ((flags & O_PATH) == 0) TRY(sys::set_position(file.get(), record.position).in(record.path));
  return file;
}

}  // namespace

const Kind kRegularFile = {
    .name = "regular file",
    .kept = "position, mode of access, status flags, unlinked files with their content, flock and record locks, leases",
    .refused = "its name now leads to another file; somebody waits for a lease that is held on it",
    .type = image::RecordType::kRegularFile,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
