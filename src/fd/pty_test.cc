#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <gmock/gmock.h>

#include "fd/round_trip.h"

namespace stint::fd {
namespace {

// The master at 0; the slave, when it is opened, at the next number.
bool open_master() {
  int locked = 0;
  return ::open("/dev/ptmx", O_RDWR | O_NOCTTY) == 0 && ::ioctl(0, TIOCSPTLCK, &locked) == 0;
}

int open_slave() { return ::ioctl(0, TIOCGPTPEER, O_RDWR | O_NOCTTY); }

// Other programs of this machine open terminals, too: their numbers may be taken for a moment.
std::string pty_round_trip(const std::function<bool()>& make, const std::function<std::string()>& check) {
  std::string wrong;
  for (int tries = 0; tries < 50; ++tries) {
    wrong = round_trip(make, check);
    if (wrong.find("is in use here") == std::string::npos) return wrong;
    ::usleep(100'000);
  }
  return wrong;
}

short polled(int fd) {
  pollfd one{fd, POLLIN, 0};
  ::poll(&one, 1, 0);
  return one.revents;
}

TEST(Pty, KeepsItsModesItsSizeAndThatBothEndsBelongTogether) {
  EXPECT_EQ(pty_round_trip(
                [] {
                  winsize size{.ws_row = 12, .ws_col = 34, .ws_xpixel = 56, .ws_ypixel = 78};
                  termios modes{};
                  bool made = open_master() && open_slave() == 1 && ::tcgetattr(1, &modes) == 0;
                  modes.c_lflag &= ~static_cast<tcflag_t>(ECHO), modes.c_cc[VINTR] = 7;
                  int on = 1;
                  return made && ::tcsetattr(1, TCSANOW, &modes) == 0 && ::ioctl(1, TIOCSWINSZ, &size) == 0 &&
                         ::ioctl(0, TIOCPKT, &on) == 0 && ::ioctl(0, TIOCSPTLCK, &on) == 0;
                },
                []() -> std::string {
                  winsize size{};
                  termios modes{};
                  int packets = 0, locked = 0;
                  HOLDS(::ioctl(0, TIOCGWINSZ, &size) == 0 && size.ws_row == 12 && size.ws_col == 34);
                  HOLDS(size.ws_xpixel == 56 && size.ws_ypixel == 78 && ::tcgetattr(1, &modes) == 0);
                  HOLDS((modes.c_lflag & (ECHO | ICANON)) == ICANON && modes.c_cc[VINTR] == 7);
                  HOLDS(::ioctl(0, TIOCGPKT, &packets) == 0 && packets == 1);
                  HOLDS(::ioctl(0, TIOCGPTLCK, &locked) == 0 && locked == 1);
                  HOLDS(write_text(1, "out") && read_now(0, 10) == std::string("\0out", 4));
                  HOLDS(write_text(0, "in\n") && read_now(1, 10) == "in\n");
                  return "";
                }),
            "");
}

TEST(Pty, KeepsItsNumber) {
  EXPECT_EQ(pty_round_trip(
                [] {
                  int made = -1;
                  // Its own is not the lowest that is free.
                  bool opened =
                      ::open("/dev/ptmx", O_RDWR | O_NOCTTY) == 0 && ::open("/dev/ptmx", O_RDWR | O_NOCTTY) == 1;
                  return opened && ::close(0) == 0 && ::ioctl(1, TIOCGPTN, &made) == 0 && made < 256 &&
                         ::fcntl(1, F_SETOWN, 0) == 0 && ::fcntl(1, F_SETSIG, made % 60) == 0;
                },
                []() -> std::string {
                  // The signal of the description has carried it over.
                  int now = -1;
                  HOLDS(::ioctl(1, TIOCGPTN, &now) == 0 && now % 60 == ::fcntl(1, F_GETSIG));
                  return "";
                }),
            "");
}

TEST(Pty, TellsASlaveThatIsClosedFromOneThatWasNeverOpen) {
  EXPECT_EQ(pty_round_trip([] { return open_master(); },
                           []() -> std::string {
                             HOLDS((polled(0) & POLLHUP) == 0);
                             return "";
                           }),
            "");
  EXPECT_EQ(pty_round_trip([] { return open_master() && ::close(open_slave()) == 0; },
                           []() -> std::string {
                             HOLDS((polled(0) & POLLHUP) != 0);
                             char byte;
                             HOLDS(::read(0, &byte, 1) == -1 && errno == EIO);
                             return "";
                           }),
            "");
}

TEST(Pty, KeepsALineThatIsBeingTyped) {
  auto settled = [] { return ::usleep(20'000) == 0; };
  EXPECT_EQ(pty_round_trip(
                [&] {
                  return open_master() && open_slave() == 1 && write_text(0, "half a \x16\x03") && settled() &&
                         read_now(0, 100) == "half a ^\b^C";
                },
                [&]() -> std::string {
                  HOLDS((polled(0) & POLLIN) == 0 && (polled(1) & POLLIN) == 0);
                  HOLDS(write_text(0, " line\n") && settled() && read_now(1, 100) == "half a \x03 line\n");
                  return "";
                }),
            "");
}

TEST(Pty, CaptureLeavesALineThatIsBeingTyped) {
  int master = ::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), locked = 0;
  ASSERT_EQ(::ioctl(master, TIOCSPTLCK, &locked), 0);
  int slave = ::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_TRUE(write_text(master, "still"));
  ::usleep(20'000);
  ASSERT_EQ(read_now(master, 10), "still");
  Result<std::vector<Facts>> facts = look(Pid{::getpid()}, JobPid{1});
  ASSERT_TRUE(facts.has_value()) << facts.error().text();
  std::erase_if(*facts, [&](const Facts& one) { return one.fd.number != master && one.fd.number != slave; });
  std::vector<std::vector<Facts>> processes;
  processes.push_back(std::move(*facts));
  Trip trip;
  CaptureContext context{.sink = trip.stream, .files = trip.files, .shared_memory = trip.files};
  Result<> captured = capture_descriptors(processes, context);
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  EXPECT_EQ(polled(slave) & POLLIN, 0);
  ASSERT_TRUE(write_text(master, " here\n"));
  ::usleep(20'000);
  EXPECT_EQ(read_now(slave, 100), "still here\n");
  EXPECT_EQ(read_now(master, 100), " here\r\n");
  ::close(slave), ::close(master);
}

TEST(Pty, KeepsTheBytesThatWaitEitherWay) {
  EXPECT_EQ(pty_round_trip([] { return open_master() && open_slave() == 1 && write_text(1, "output"); },
                           [] { return read_now(0, 100); }),
            "output");
  EXPECT_EQ(pty_round_trip(
                [] {
                  termios modes{};
                  bool made = open_master() && open_slave() == 1 && ::tcgetattr(1, &modes) == 0;
                  modes.c_lflag &= ~static_cast<tcflag_t>(ECHO);
                  return made && ::tcsetattr(1, TCSANOW, &modes) == 0 && write_text(0, "input\n");
                },
                [] { return read_now(1, 100); }),
            "input\n");
}

TEST(Pty, WhoseNumberIsTakenDoesNotFit) {
  Trip trip;
  Result<> captured = trip.capture([] { return open_master(); });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  // The number is the lowest that is free, unless it is taken already.
  int taken = ::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  EXPECT_THAT(trip.verify([] { return std::string(); }), testing::HasSubstr("is in use here"));
  ::close(taken);
}

}  // namespace
}  // namespace stint::fd
