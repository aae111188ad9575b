#include <gmock/gmock.h>
#include <poll.h>
#include <sys/stat.h>

#include <filesystem>

#include "fd/round_trip.h"

namespace stint::fd {
namespace {

bool fresh_pipe(int flags = 0) {
  int ends[2];
  return ::pipe2(ends, flags) == 0 && ends[0] == 0 && ends[1] == 1;
}

TEST(Pipe, KeepsItsSizeAndWhatWasQueued) {
  EXPECT_EQ(round_trip([] { return fresh_pipe() && ::fcntl(1, F_SETPIPE_SZ, 1 << 20) > 0 && write_text(1, "queued"); },
                       []() -> std::string {
                         HOLDS(::fcntl(0, F_GETPIPE_SZ) == 1 << 20);
                         HOLDS(::fcntl(1, F_GETFL) == O_WRONLY);
                         HOLDS(read_now(0, 100) == "queued");
                         HOLDS(write_text(1, "more") && read_now(0, 100) == "more");
                         return "";
                       }),
            "");
}

TEST(Pipe, KeepsAFullBuffer) {
  EXPECT_EQ(round_trip([] { return fresh_pipe(O_NONBLOCK) && write_text(1, std::string(65536, 'x')); },
                       []() -> std::string {
                         HOLDS(::write(1, "y", 1) == -1 && errno == EAGAIN);
                         HOLDS(read_now(0, 65536) == std::string(65536, 'x'));
                         return "";
                       }),
            "");
}

TEST(Pipe, KeepsPackets) {
  EXPECT_EQ(round_trip([] { return fresh_pipe(O_DIRECT) && write_text(1, "one") && write_text(1, "three"); },
                       []() -> std::string {
                         HOLDS((::fcntl(1, F_GETFL) & O_DIRECT) != 0);
                         HOLDS(read_now(0, 100) == "one");
                         HOLDS(read_now(0, 100) == "three");
                         return "";
                       }),
            "");
}

TEST(Pipe, KeepsAnEndThatIsGone) {
  EXPECT_EQ(round_trip([] { return fresh_pipe() && write_text(1, "last words") && ::close(1) == 0; },
                       []() -> std::string {
                         HOLDS(::fcntl(1, F_GETFD) == -1);
                         errno = 0;
                         HOLDS(read_now(0, 100) == "last words");
                         HOLDS(at_end(0));
                         return "";
                       }),
            "");
  EXPECT_EQ(round_trip([] { return fresh_pipe() && ::close(0) == 0; },
                       []() -> std::string {
                         ::signal(SIGPIPE, SIG_IGN);
                         HOLDS(::write(1, "x", 1) == -1 && errno == EPIPE);
                         return "";
                       }),
            "");
}

TEST(Pipe, KeepsSeveralDescriptionsOfOneEndApart) {
  EXPECT_EQ(round_trip(
                [] {
                  return fresh_pipe() && ::open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK) == 2 && ::dup(0) == 3 &&
                         write_text(1, "ab");
                },
                []() -> std::string {
                  HOLDS((::fcntl(0, F_GETFL) & O_NONBLOCK) == 0 && (::fcntl(2, F_GETFL) & O_NONBLOCK) != 0);
                  HOLDS(::fcntl(3, F_SETFL, O_NONBLOCK) == 0 && (::fcntl(0, F_GETFL) & O_NONBLOCK) != 0);
                  HOLDS(read_now(2, 1) == "a" && read_now(0, 1) == "b");
                  return "";
                }),
            "");
}

TEST(Pipe, WhoseOtherEndIsOutsideIsRefused) {
  StoppedProgram program([] { return fresh_pipe(); });
  ASSERT_TRUE(program.stopped());
  Result<std::vector<Facts>> facts = look(Pid{program.pid()}, JobPid{3});
  ASSERT_TRUE(facts.has_value());
  facts->pop_back();  // As if the process that holds the writing end were not of the job.
  std::vector<std::vector<Facts>> processes;
  processes.push_back(std::move(*facts));
  std::vector<Error> errors = refusals(processes, {}, 0);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].kind(), ErrorKind::kRefused);
  EXPECT_NE(errors[0].text().find("fd 0 (pipe:["), std::string::npos) << errors[0].text();
  EXPECT_NE(errors[0].text().find("outside of the job"), std::string::npos) << errors[0].text();
  EXPECT_NE(errors[0].text().find("stint run"), std::string::npos) << errors[0].text();
}

TEST(Fifo, KeepsWhatWasQueued) {
  std::string path = testing::TempDir() + "stint-fifo-" + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(round_trip(
                [&] {
                  return ::open(path.c_str(), O_RDONLY | O_NONBLOCK) == 0 && ::open(path.c_str(), O_WRONLY) == 1 &&
                         write_text(1, "in between");
                },
                []() -> std::string {
                  HOLDS((::fcntl(0, F_GETFL) & O_NONBLOCK) != 0 && (::fcntl(1, F_GETFL) & O_NONBLOCK) == 0);
                  HOLDS(read_now(0, 100) == "in between");
                  HOLDS(::close(1) == 0 && at_end(0));
                  return "";
                }),
            "");
  std::filesystem::remove(path);
}

TEST(Fifo, KeepsAReaderThatWaitsForItsFirstWriter) {
  std::string path = testing::TempDir() + "stint-fifo-" + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  auto polled = [](int fd) {
    pollfd asked{.fd = fd, .events = POLLIN, .revents = 0};
    ::poll(&asked, 1, 0);
    return asked.revents;
  };
  auto waits = [&](int fd) { return polled(fd) == 0 && at_end(fd); };
  EXPECT_EQ(round_trip([&] { return ::open(path.c_str(), O_RDONLY | O_NONBLOCK) == 0 && waits(0); },
                       [&]() -> std::string {
                         HOLDS(waits(0));
                         HOLDS(::open(path.c_str(), O_WRONLY) == 1 && write_text(1, "first"));
                         HOLDS(read_now(0, 100) == "first" && ::close(1) == 0);
                         HOLDS(polled(0) == POLLHUP);
                         return "";
                       }),
            "");
  int writer = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  EXPECT_THAT(refused_because([&] { return ::open(path.c_str(), O_RDONLY | O_NONBLOCK) == 0; }),
              testing::HasSubstr("open outside of the job"));
  ::close(writer);
  std::filesystem::remove(path);
}

TEST(StandardStream, GivesUnreadInputFirst) {
  int input[2];
  ASSERT_EQ(::pipe2(input, O_CLOEXEC), 0);
  ASSERT_TRUE(write_text(input[1], "typed ahead"));
  struct stat about;
  ASSERT_EQ(::fstat(input[0], &about), 0);
  Trip trip;
  trip.outside_streams = {{.stream = 0, .device = about.st_dev, .inode = about.st_ino}};
  trip.input = input[0];
  Result<> captured = trip.capture([] { return true; });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  trip.prepare = [](RestoreContext& context) {
    context.prefilled_stream = [](int stream, ByteView queued) -> Result<sys::UniqueFd> {
      int ends[2];
      if (stream != 0 || ::pipe2(ends, O_CLOEXEC) != 0) return os_error("pipe2");
      sys::UniqueFd read(ends[0]), write(ends[1]);
      if (!write_text(write.get(), text_of(queued))) return os_error("write");
      return read;
    };
  };
  EXPECT_EQ(trip.verify([]() -> std::string {
    HOLDS(read_now(0, 100) == "typed ahead");
    return "";
  }),
            "");
  EXPECT_EQ(read_now(input[0], 100), "typed ahead");  // and was not taken from the running program
  ::close(input[0]), ::close(input[1]);
}

}  // namespace
}  // namespace stint::fd
