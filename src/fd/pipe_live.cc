// A pipe's size, the bytes in it, its packets and the flags of each end must be there again, and so must the fact that
// several descriptors are one end.
#include <poll.h>
#include <sys/ioctl.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

LIVE_TEST(pipe_keeps_its_size_and_what_was_queued) {
  const Ends pipe = make_pipe();
  EXPECT_OK(fcntl(pipe.write, F_SETPIPE_SZ, 1 << 19));
  write_all(pipe.write, "queued");
  freeze_point();
  EXPECT_EQ(fcntl(pipe.read, F_GETPIPE_SZ), 1 << 19);
  EXPECT_EQ(read_once(pipe.read), "queued");
}

LIVE_TEST(pipe_keeps_every_byte_of_a_full_buffer) {
  const Ends pipe = make_pipe();
  const std::string bytes = pattern(65536);
  write_all(pipe.write, bytes);
  freeze_point();
  int queued = 0;
  EXPECT_OK(ioctl(pipe.read, FIONREAD, &queued));
  EXPECT_EQ(queued, 65536);
  EXPECT_TRUE(read_exactly(pipe.read, bytes.size()) == bytes);
}

LIVE_TEST(empty_pipe_stays_empty_and_usable) {
  const Ends pipe = make_pipe();
  freeze_point();
  pollfd events = {pipe.read, POLLIN, 0};
  EXPECT_EQ(poll(&events, 1, 0), 0);
  write_all(pipe.write, "later");
  EXPECT_EQ(read_once(pipe.read), "later");
}

LIVE_TEST(packet_pipe_keeps_the_bounds_of_its_packets) {
  const Ends pipe = make_pipe(O_DIRECT);
  write_all(pipe.write, "one");
  write_all(pipe.write, "three");
  freeze_point();
  EXPECT_EQ(read_once(pipe.read), "one");
  EXPECT_EQ(read_once(pipe.read), "three");
  EXPECT_TRUE((fcntl(pipe.write, F_GETFL) & O_DIRECT) != 0);
  write_all(pipe.write, "a");
  write_all(pipe.write, "b");
  EXPECT_EQ(read_once(pipe.read), "a");
  EXPECT_EQ(read_once(pipe.read), "b");
}

LIVE_TEST(each_end_of_a_pipe_keeps_its_own_nonblocking_flag) {
  const Ends pipe = make_pipe();
  EXPECT_OK(fcntl(pipe.read, F_SETFL, O_NONBLOCK));
  freeze_point();
  char byte;
  EXPECT_EQ(read(pipe.read, &byte, 1), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(fcntl(pipe.write, F_GETFL) & O_NONBLOCK, 0);
}

LIVE_TEST(pipe_whose_writer_is_closed_ends_after_what_was_queued) {
  Ends pipe = make_pipe();
  write_all(pipe.write, "last words");
  pipe.write.reset();
  freeze_point();
  EXPECT_EQ(read_once(pipe.read), "last words");
  EXPECT_EQ(read_once(pipe.read), "");
}

LIVE_TEST(pipe_whose_reader_is_closed_still_refuses_to_be_written) {
  const Handler ignored(SIGPIPE, [](int, siginfo_t*, void*) {});
  Ends pipe = make_pipe();
  pipe.read.reset();
  freeze_point();
  EXPECT_EQ(write(pipe.write, "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
}

LIVE_TEST(closing_every_duplicate_of_a_pipes_write_end_ends_it) {
  Ends pipe = make_pipe();
  Fd second(EXPECT_OK(dup(pipe.write)));
  freeze_point();
  pipe.write.reset();
  write_all(second, "still open");
  EXPECT_EQ(read_once(pipe.read), "still open");
  second.reset();
  EXPECT_EQ(read_once(pipe.read), "");
}

LIVE_TEST(fifo_within_the_process_keeps_its_bytes) {
  const Scratch scratch;
  EXPECT_OK(mkfifo(scratch.file("fifo").c_str(), 0600));
  const Fd both = open_file(scratch.file("fifo"), O_RDWR);
  const Fd read = open_file(scratch.file("fifo"), O_RDONLY);
  const Fd write = open_file(scratch.file("fifo"), O_WRONLY);
  write_all(write, "through a name");
  freeze_point();
  EXPECT_EQ(read_once(read), "through a name");
  write_all(both, "and back");
  EXPECT_EQ(read_once(read), "and back");
  // Whoever opens the name now must meet the same queue.
  const Fd later = open_file(scratch.file("fifo"), O_WRONLY);
  write_all(later, "found again");
  EXPECT_EQ(read_once(read), "found again");
}

LIVE_TEST(fifo_that_waits_for_its_first_writer_shows_no_end_of_one) {
  const Scratch scratch;
  EXPECT_OK(mkfifo(scratch.file("fifo").c_str(), 0600));
  const Fd read = open_file(scratch.file("fifo"), O_RDONLY | O_NONBLOCK);
  pollfd asked{.fd = read, .events = POLLIN, .revents = 0};
  freeze_point();
  EXPECT_EQ(poll(&asked, 1, 0), 0);
  EXPECT_EQ(read_once(read), "");
  const Fd write = open_file(scratch.file("fifo"), O_WRONLY);
  write_all(write, "the first");
  EXPECT_EQ(read_once(read), "the first");
}

LIVE_TEST(many_pipes_are_not_mixed_up) {
  Ends pipes[40];
  for (int i = 0; i < 40; ++i) {
    pipes[i] = make_pipe();
    write_all(pipes[i].write, "pipe " + std::to_string(i));
  }
  freeze_point();
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(read_once(pipes[i].read), "pipe " + std::to_string(i));
    write_all(pipes[i].write, "again " + std::to_string(i));
    EXPECT_EQ(read_once(pipes[i].read), "again " + std::to_string(i));
  }
}

}  // namespace
}  // namespace live
