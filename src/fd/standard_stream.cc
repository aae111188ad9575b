// A standard stream that leads outside: the pipe from `cat input |`, the socket of an ssh session, the user's terminal
// of a plain job. Its other end is not ours to bring back: the stream of whoever restarts the job takes its place.
// Input that had arrived and was not read yet would be lost with the old pipe: it is kept (tee(2), MSG_PEEK) and given
// first.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>

#include "fd/kinds.h"
#include "sys/descriptor.h"
#include "sys/pipe.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

using image::StandardStreamRecord;

// Several streams may be one object (2>&1 |): the one of the descriptor's own number is meant then.
const OutsideStream* find_stream(const Facts& facts, const CaptureContext& context) {
  const OutsideStream* found = nullptr;
  for (const OutsideStream& stream : context.outside_streams) {
    if (stream.device != facts.stat.st_dev || stream.inode != facts.stat.st_ino) continue;
    if (found == nullptr || stream.stream == facts.fd.number) found = &stream;
  }
  return found;
}

bool is_terminal(const struct stat& stat) {
  // Pseudoterminals, serial lines, the console: a /dev/null that was handed in is no stream, every other one is like
  // it.
  constexpr unsigned kTtyMajors[] = {4, 5, 136, 137, 138, 139, 140, 141, 142, 143, 204, 229};
  if (!S_ISCHR(stat.st_mode)) return false;
  for (unsigned known : kTtyMajors)
    if (known == major(stat.st_rdev)) return true;
  return false;
}

bool recognises(const Facts& facts, const CaptureContext& context) {
  bool leads_somewhere = S_ISFIFO(facts.stat.st_mode) || S_ISSOCK(facts.stat.st_mode) || is_terminal(facts.stat);
  return leads_somewhere && find_stream(facts, context) != nullptr;
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  StandardStreamRecord record;
  record.description = description;
  record.stream = find_stream(facts, context)->stream;
  record.what = S_ISFIFO(facts.stat.st_mode) ? "pipe" : S_ISSOCK(facts.stat.st_mode) ? "socket" : "terminal";
  bool input = (static_cast<int>(description.flags) & O_ACCMODE) != O_WRONLY && record.stream == 0;
  // A terminal keeps what was typed, and goes on without us.
  bool first = input && !context.only_look && context.contents_recorded.insert(facts.stat.st_ino).second;
  if (first && S_ISFIFO(facts.stat.st_mode)) {
    record.queued = TRY(sys::peek_pipe(facts.ours.get())).bytes;
  } else if (first && S_ISSOCK(facts.stat.st_mode)) {
    record.queued = TRY(sys::peek_stream(facts.ours.get()));
  }
  if (!record.queued.empty())
    context.unread_input.push_back({TRY(sys::duplicate(facts.ours.get())), record.queued.size()});
  return put_record(context.sink, kStandardStream.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  StandardStreamRecord record = TRY(image::decode<StandardStreamRecord>(bytes));
  if (record.stream < 0 || record.stream > 2) return damaged("standard stream record: no such stream");
  constexpr const char* kNames[] = {"input", "output", "error"};
  if (!record.queued.empty()) {
    CHECK(context.prefilled_stream != nullptr);
    return context.prefilled_stream(record.stream, record.queued);
  }
  int stream = context.streams[record.stream];
  if (stream < 0)
    return unfit(fmt::format("standard {} was a {}, and here it is closed: give the restart one (</dev/null will do)",
                             kNames[record.stream], record.what));
  return sys::duplicate(stream);
}

}  // namespace

const Kind kStandardStream = {
    .name = "standard stream",
    .kept = "leads to the stream of whoever restarts the job; input that had arrived and was not read comes first",
    .refused = "never",
    .type = image::RecordType::kStandardStream,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
    .shared_with_outside = true,
};

}  // namespace stint::fd
