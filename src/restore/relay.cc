#include "restore/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "image/fd_records.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/message.h"
#include "sys/process.h"

namespace stint::restore {
namespace {

constexpr size_t kAtOnce = 64 << 10;

// Until the input ends, or nobody reads what it gives any more.
[[noreturn]] void relay(int from, int to) {
  while (true) {
    pollfd watched[] = {{from, POLLIN, 0}, {to, 0, 0}};
    if (::poll(watched, 2, -1) < 0) continue;
    if (watched[1].revents & POLLERR) sys::exit_now(0);
    if (watched[0].revents == 0) continue;
    ssize_t moved = ::splice(from, nullptr, to, nullptr, kAtOnce, 0);
    if (moved == 0 || (moved < 0 && errno != EINTR && errno != EAGAIN)) sys::exit_now(0);
  }
}

// The child of a child: nobody of ours has to wait for it. The result: see relay_input().
Result<sys::UniqueFd> fork_relay(sys::UniqueFd input, sys::UniqueFd pipe) {
  auto [ours, theirs] = TRY(sys::message_pair());
  pid_t child = TRY(sys::fork_process());
  if (child != 0) {
    TRY(sys::wait_pid(child));
    return std::move(ours);
  }
  Result<pid_t> second = sys::fork_process();
  if (!second.has_value() || *second != 0) sys::exit_now(second.has_value() ? 0 : 1);
  sys::set_name("stint relay");
  sys::close_all_but({input.get(), pipe.get(), theirs.get()});  // The job's lock is among them.
  std::byte go;
  Result<std::optional<sys::Message>> said = sys::receive_message(theirs.get(), {&go, 1}, true);
  if (!said.has_value() || !said->has_value() || (*said)->size == 0) sys::exit_now(0);
  relay(input.get(), pipe.get());
}

Result<sys::UniqueFd> prefill(const Bytes& queued) {
  int ends[2];
  TRY(sys::call("pipe2", [&] { return ::pipe2(ends, O_CLOEXEC); }));
  sys::UniqueFd read_end(ends[0]), write_end(ends[1]);
  if (queued.size() > kAtOnce)
    TRY(sys::call("F_SETPIPE_SZ", [&] {
          return ::fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(queued.size()));
        }).in("standard input that was not read yet (see fs.pipe-max-size)"));
  TRY(sys::write_all(write_end.get(), queued));
  sys::UniqueFd input(static_cast<int>(TRY(sys::call("dup", [&] { return ::fcntl(0, F_DUPFD_CLOEXEC, 3); }))));
  TRY(sys::call("dup2", [&] { return ::dup2(read_end.get(), 0); }));
  read_end.reset();
  return fork_relay(std::move(input), std::move(write_end));
}

}  // namespace

Result<sys::UniqueFd> relay_input(const image::Source& source) {
  for (const image::Record& record : source.records()) {
    if (record.type != image::RecordType::kStandardStream) continue;
    image::StandardStreamRecord stream = TRY(image::decode<image::StandardStreamRecord>(record.payload));
    if (stream.queued.empty()) continue;
    if (stream.stream != 0) return unfit("bytes that were not read yet wait in an output stream");
    return prefill(stream.queued);
  }
  return sys::UniqueFd();
}

void start_relay(const sys::UniqueFd& relay) {
  // It may have ended, when nobody reads the pipe any more: then it is not needed.
  if (relay.valid()) (void)sys::send_message(relay.get(), Bytes(1));
}

}  // namespace stint::restore
