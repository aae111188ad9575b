#include "restore/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "image/fd_records.h"
#include "sys/call.h"
#include "sys/file.h"
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

// The child of a child: nobody of ours has to wait for it.
Result<> start_relay(sys::UniqueFd input, sys::UniqueFd pipe) {
  pid_t child = TRY(sys::fork_process());
  if (child != 0) {
    input.reset(), pipe.reset();
    TRY(sys::wait_pid(child));
    return {};
  }
  Result<pid_t> second = sys::fork_process();
  if (!second.has_value() || *second != 0) sys::exit_now(second.has_value() ? 0 : 1);
  sys::set_name("stint relay");
  relay(input.get(), pipe.get());
}

Result<> prefill(const Bytes& queued) {
  int ends[2];
  TRY(sys::call("pipe2", [&] { return ::pipe2(ends, O_CLOEXEC); }));
  sys::UniqueFd read_end(ends[0]), write_end(ends[1]);
  if (queued.size() > kAtOnce)
    TRY(sys::call("F_SETPIPE_SZ", [&] { return ::fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(queued.size())); })
            .in("standard input that was not read yet (see fs.pipe-max-size)"));
  TRY(sys::write_all(write_end.get(), queued));
  sys::UniqueFd input(static_cast<int>(TRY(sys::call("dup", [&] { return ::fcntl(0, F_DUPFD_CLOEXEC, 3); }))));
  TRY(sys::call("dup2", [&] { return ::dup2(read_end.get(), 0); }));
  read_end.reset();
  return start_relay(std::move(input), std::move(write_end));
}

}  // namespace

Result<> relay_input(const image::Source& source) {
  for (const image::Record& record : source.records()) {
    if (record.type != image::RecordType::kStandardStream) continue;
    image::StandardStreamRecord stream = TRY(image::decode<image::StandardStreamRecord>(record.payload));
    if (stream.queued.empty()) continue;
    if (stream.stream != 0) return unfit("bytes that were not read yet wait in an output stream");
    return prefill(stream.queued);
  }
  return {};
}

}  // namespace stint::restore
