// O_PATH of a symbolic link, a device, a FIFO or a socket: a place in the file system, and nothing of the object. Those
// of regular files and directories belong to their kinds.
#include <fcntl.h>
#include <fmt/format.h>

#include "fd/kinds.h"
#include "fd/path.h"
#include "sys/file.h"

namespace stint::fd {
namespace {

using image::PathOnlyRecord;

bool recognises(const Facts& facts, const CaptureContext&) {
  return (facts.info.flags & O_PATH) != 0 && facts.link.starts_with('/') && !S_ISREG(facts.stat.st_mode) &&
         !S_ISDIR(facts.stat.st_mode);
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  FoundPath found = TRY(find_path(facts));
  if (found.unlinked) return refusal(facts, "has no name any more", "close it before the checkpoint");
  PathOnlyRecord record{description, found.path, facts.stat.st_mode & S_IFMT};
  return put_record(context.sink, kPathOnly.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext&) {
  PathOnlyRecord record = TRY(image::decode<PathOnlyRecord>(bytes));
  // A link itself was opened; of the other kinds the path is the one without links.
  sys::UniqueFd path = TRY(sys::open(record.path, O_PATH | O_NOFOLLOW).as(ErrorKind::kUnfit));
  if ((TRY(sys::fstat(path.get())).st_mode & S_IFMT) != record.type)
    return unfit(fmt::format("{} is another kind of file now", record.path));
  return path;
}

}  // namespace

const Kind kPathOnly = {
    .name = "O_PATH",
    .kept = "of a symbolic link, device, FIFO or socket: its place",
    .refused = "the name is gone, or leads to another file",
    .type = image::RecordType::kPathOnly,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
