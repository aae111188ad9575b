#include "sys/pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "sys/call.h"
#include "sys/descriptor.h"
#include "sys/file.h"

namespace stint::sys {

Result<PipeEnds> pipe() {
  int ends[2];
  TRY(call("pipe2", [&] { return ::pipe2(ends, O_CLOEXEC); }));
  return PipeEnds{.read = UniqueFd(ends[0]), .write = UniqueFd(ends[1])};
}

Result<uint32_t> pipe_size(int fd) {
  return static_cast<uint32_t>(TRY(call("F_GETPIPE_SZ", [&] { return ::fcntl(fd, F_GETPIPE_SZ); })));
}

Result<> set_pipe_size(int fd, uint32_t bytes) {
  TRY(call("F_SETPIPE_SZ", [&] { return ::fcntl(fd, F_SETPIPE_SZ, bytes); }));
  return {};
}

Result<PipeContent> peek_pipe(int fd) {
  PipeContent content;
  int queued = TRY(bytes_queued(fd));
  if (queued == 0) return content;
  PipeEnds copy = TRY(pipe());
  // tee(2) links buffers, one slot for each: as many slots here, and one call takes them all.
  uint32_t size = TRY(pipe_size(fd));
  if (TRY(pipe_size(copy.write.get())) < size)
    TRY(set_pipe_size(copy.write.get(), size).in("a copy of the pipe (see fs.pipe-max-size, fs.pipe-user-pages-soft)"));
  long linked = TRY(call("tee", [&] { return ::tee(fd, copy.write.get(), queued, SPLICE_F_NONBLOCK); }));
  if (linked != queued)
    return failed("tee copied " + std::to_string(linked) + " of the " + std::to_string(queued) + " bytes in the pipe");
  content.bytes.resize(static_cast<size_t>(queued));
  for (size_t done = 0; done < content.bytes.size();) {
    size_t got = TRY(read(copy.read.get(), std::span(content.bytes).subspan(done)));
    if (got == 0) return failed("the copy of the pipe ends too early");
    content.pieces.push_back(static_cast<uint32_t>(got));
    done += got;
  }
  return content;
}

Result<bool> pipe_is_at_end(int fd) {
  PipeEnds copy = TRY(pipe());
  Result<long> linked = call("tee", [&] { return ::tee(fd, copy.write.get(), 1, SPLICE_F_NONBLOCK); });
  if (linked.has_value()) return *linked == 0;
  if (linked.error().os_errno() == EAGAIN) return false;  // Empty, but somebody may write.
  return std::move(linked).error();
}

}  // namespace stint::sys
