// The job's own terminal: the slave of a pty whose master a stand-in holds, so that it outlives the supervisor. Also
// when it was opened as /dev/tty, which means whatever terminal controls the session. Modes and size are the terminal's
// own and are kept with the job. After a restart it is another pty, in another terminal perhaps, under the same
// descriptors. Not kept: typed bytes that were not read (the user's terminal has shown them; they are typed again).
#include <fcntl.h>
#include <sys/sysmacros.h>

#include "fd/kinds.h"
#include "fd/path.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/inode.h"

namespace stint::fd {
namespace {

using image::TerminalRecord;

constexpr const char* kControlling = "/dev/tty";
const dev_t kControllingDevice = makedev(5, 0);

bool recognises(const Facts& facts, const CaptureContext& context) {
  if (!S_ISCHR(facts.stat.st_mode)) return false;
  if (facts.stat.st_rdev == kControllingDevice) return true;
  return context.terminal_device != 0 && facts.stat.st_rdev == context.terminal_device;
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  TerminalRecord record;
  record.description = description;
  record.path = facts.stat.st_rdev == kControllingDevice ? kControlling : facts.link;
  return put_record(context.sink, kTerminal.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  TerminalRecord record = TRY(image::decode<TerminalRecord>(bytes));
  int flags = reopen_flags(record.description.flags) | O_NONBLOCK;
  if (record.path == kControlling)
    return sys::open(kControlling, flags).in("the program used its controlling terminal").as(ErrorKind::kUnfit);
  if (context.terminal < 0) return unfit("the program used a terminal: restart it in one");
  return sys::reopen(context.terminal, flags);
}

}  // namespace

const Kind kTerminal = {
    .name = "terminal",
    .kept = "the job's own terminal and /dev/tty: goes on in the terminal of the restart, with its modes",
    .refused = "a terminal that is not the job's",
    .type = image::RecordType::kTerminal,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
