// What --external=close makes of descriptors whose other end is outside of the job: here, in the test itself, which
// keeps it open all the time.
#include <gmock/gmock.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>

#include <cstddef>
#include <filesystem>

#include "fd/inet_test.h"
#include "fd/round_trip.h"
#include "net/apart.h"
#include "net/tcp_connect.h"
#include "sys/inet.h"

namespace stint::fd {
namespace {

using testing::HasSubstr;
using Check = std::function<std::string()>;

bool nothing() { return true; }

struct ClosingTrip : Trip {
  explicit ClosingTrip(int from = -1) { input = from, close_external = true; }
};

// The program has `input` as its descriptor 0, and what `make` makes. Refused by name without the option; with it, what
// `check` finds wrong after the restart.
std::string cut_off_trip(int input, const std::function<bool()>& make, const Check& check) {
  Trip refused;
  refused.input = input;
  Result<> without = refused.capture(make);
  if (without.has_value()) return "not refused without --external=close";
  if (without.error().kind() != ErrorKind::kRefused) return "not refused: " + without.error().text();
  if (!without.error().text().contains("--external=close")) return "not named: " + without.error().text();
  ClosingTrip trip(input);
  Result<> captured = trip.capture(make);
  if (!captured.has_value()) return captured.error().text();
  if (trip.closed.size() != 1 || trip.closed[0].fd != 0 || trip.closed[0].what.empty())
    return "the list of what was closed is wrong";
  return trip.verify(check);
}

// Likewise, after a second checkpoint, which is taken of the restarted program without the option.
std::string second_trip(int input, const std::function<bool()>& make, const Check& check) {
  ClosingTrip first(input);
  Result<> captured = first.capture(make);
  if (!captured.has_value()) return captured.error().text();
  constexpr int kKeep = 900;
  Trip second;
  captured = second.capture([&] { return first.restore(kKeep).has_value(); });
  if (!captured.has_value()) return "second checkpoint: " + captured.error().text();
  if (!second.closed.empty()) return "second checkpoint: something was closed";
  return second.verify(check);
}

bool gives(int error, ssize_t result) { return result == -1 && errno == error; }

bool sends_no_more(int fd) { return gives(EPIPE, ::send(fd, "x", 1, MSG_NOSIGNAL)); }

// Two ends: `job` for the program, `outside` for us.
struct Ends {
  int job = -1, outside = -1;
  Ends() = default;
  Ends(const Ends&) = delete;
  ~Ends() { ::close(job), ::close(outside); }
};

TEST(ExternalPipe, GivesItsReaderWhatIsQueuedAndThenTheEnd) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  ASSERT_TRUE(write_text(ends[1], "queued"));
  EXPECT_EQ(cut_off_trip(ends[0], nothing,
                         []() -> std::string {
                           HOLDS(read_now(0, 100) == "queued" && at_end(0));
                           return "";
                         }),
            "");
  EXPECT_EQ(read_now(ends[0], 100), "queued") << "the pipe outside is not what it was";
  ::close(ends[0]), ::close(ends[1]);
}

TEST(ExternalPipe, GivesItsWriterEpipe) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  ASSERT_TRUE(write_text(ends[1], "queued"));
  EXPECT_EQ(cut_off_trip(ends[1], nothing,
                         []() -> std::string {
                           int queued = -1;
                           HOLDS(::ioctl(0, FIONREAD, &queued) == 0 && queued == 0);
                           ::signal(SIGPIPE, SIG_IGN);
                           HOLDS(gives(EPIPE, ::write(0, "x", 1)));
                           return "";
                         }),
            "");
  EXPECT_EQ(read_now(ends[0], 100), "queued");
  ::close(ends[0]), ::close(ends[1]);
}

class ExternalFifo : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    outside = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    ASSERT_GE(outside, 0);
  }
  void TearDown() override {
    ::close(outside);
    std::filesystem::remove(path);
  }
  std::string path = testing::TempDir() + "stint-external-" + std::to_string(::getpid());
  int outside = -1;
};

TEST_F(ExternalFifo, GivesItsReaderWhatIsQueuedAndThenTheEnd) {
  ASSERT_TRUE(write_text(outside, "queued"));
  ClosingTrip trip;
  Result<> captured = trip.capture([&] { return ::open(path.c_str(), O_RDONLY | O_NONBLOCK) == 0; });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  ASSERT_EQ(trip.closed.size(), 1u);
  ::close(std::exchange(outside, -1));
  EXPECT_EQ(trip.verify([]() -> std::string {
    HOLDS(read_now(0, 100) == "queued" && at_end(0));
    return "";
  }),
            "");
}

TEST_F(ExternalFifo, GivesItsWriterEpipeUnlessSomebodyReadsAgain) {
  ClosingTrip trip;
  Result<> captured = trip.capture([&] { return ::open(path.c_str(), O_WRONLY) == 0 && write_text(0, "queued"); });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  EXPECT_EQ(trip.verify([]() -> std::string {
    HOLDS(write_text(0, " and more"));
    return "";
  }),
            "");
  EXPECT_EQ(read_now(outside, 100), "queued and more");
  ::close(std::exchange(outside, -1));
  EXPECT_EQ(trip.verify([]() -> std::string {
    ::signal(SIGPIPE, SIG_IGN);
    HOLDS(gives(EPIPE, ::write(0, "x", 1)));
    return "";
  }),
            "");
}

TEST_F(ExternalFifo, IsRefusedByNameWithoutTheOption) {
  EXPECT_THAT(refused_because([&] { return ::open(path.c_str(), O_RDONLY | O_NONBLOCK) == 0; }),
              testing::AllOf(HasSubstr("outside of the job"), HasSubstr("--external=close")));
}

void make_pair(int type, Ends& ends) {
  int made[2];
  ASSERT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, made), 0);
  ends.job = made[0], ends.outside = made[1];
}

std::string reads_the_rest() {
  ucred peer{};
  socklen_t size = sizeof(peer);
  HOLDS(::getsockopt(0, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::geteuid() && peer.pid > 0);
  HOLDS(read_now(0, 6) == "queued" && at_end(0));
  HOLDS(sends_no_more(0));
  return "";
}

TEST(ExternalUnixSocket, GivesWhatIsQueuedAndThenTheEnd) {
  for (int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    Ends ends;
    make_pair(type, ends);
    ASSERT_TRUE(write_text(ends.outside, "queued"));
    EXPECT_EQ(cut_off_trip(ends.job, nothing, reads_the_rest), "");
    EXPECT_EQ(second_trip(ends.job, nothing, reads_the_rest), "");
    ASSERT_TRUE(write_text(ends.job, "runs on"));
    EXPECT_EQ(read_now(ends.outside, 100), "runs on") << "the socket outside is not what it was";
  }
}

TEST(ExternalUnixSocket, WhosePeerLeavesSomethingUnreadIsReset) {
  Ends ends;
  make_pair(SOCK_STREAM, ends);
  ASSERT_TRUE(write_text(ends.outside, "queued") && write_text(ends.job, "never read"));
  EXPECT_EQ(cut_off_trip(ends.job, nothing,
                         []() -> std::string {
                           char byte;
                           HOLDS(read_now(0, 6) == "queued" && gives(ECONNRESET, ::read(0, &byte, 1)));
                           HOLDS(sends_no_more(0) && at_end(0));
                           return "";
                         }),
            "");
}

TEST(ExternalUnixSocket, OfDatagramsIsRefusedItsNextOne) {
  Ends ends;
  make_pair(SOCK_DGRAM, ends);
  ASSERT_TRUE(write_text(ends.outside, "queued"));
  EXPECT_EQ(cut_off_trip(ends.job, nothing,
                         []() -> std::string {
                           HOLDS(read_now(0, 100) == "queued");
                           HOLDS(gives(ECONNREFUSED, ::send(0, "x", 1, MSG_NOSIGNAL)));
                           HOLDS(gives(ENOTCONN, ::send(0, "x", 1, MSG_NOSIGNAL)));
                           return "";
                         }),
            "");
}

struct UnixAddress {
  sockaddr_un storage{.sun_family = AF_UNIX, .sun_path = {}};
  socklen_t size = 0;
  explicit UnixAddress(const std::string& name) {
    std::memcpy(storage.sun_path, name.data(), name.size());
    size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  }
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
};

// A server outside, which goes on listening; `ends` is a connection to it.
class ExternalUnixServer : public testing::Test {
 protected:
  void start(const std::string& name, int type, bool accept) {
    UnixAddress address(name);
    listener = ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::bind(listener, address.raw(), address.size), 0) << strerror(errno);
    listen_as_another_process();
    ends.job = ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::connect(ends.job, address.raw(), address.size), 0);
    if (!accept) return;
    ends.outside = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    ASSERT_TRUE(write_text(ends.outside, "queued"));
  }
  // SO_PEERCRED shows at the client who listens.
  void listen_as_another_process() {
    int ready[2];
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    server = ::fork();
    if (server == 0) {
      if (::listen(listener, 4) != 0 || !write_text(ready[1], "!")) ::_exit(1);
      ::pause();
    }
    EXPECT_EQ(read_now(ready[0], 1), "!");
    ::close(ready[0]), ::close(ready[1]);
  }
  void TearDown() override {
    if (server > 0) ::kill(server, SIGKILL), ::waitpid(server, nullptr, 0);
    ::close(listener);
    std::filesystem::remove(path);
  }
  std::string path = testing::TempDir() + "stint-external-server-" + std::to_string(::getpid());
  std::string abstract = std::string(1, '\0') + "stint-external-" + std::to_string(::getpid());
  int listener = -1;
  pid_t server = -1;
  Ends ends;
};

Check has_peer_and_the_rest(const std::string& name) {
  return [name]() -> std::string {
    sockaddr_un peer{};
    socklen_t size = sizeof(peer);
    HOLDS(::getpeername(0, reinterpret_cast<sockaddr*>(&peer), &size) == 0);
    size_t length = size - offsetof(sockaddr_un, sun_path);
    HOLDS(std::string(peer.sun_path, length).substr(0, name.size()) == name);
    return reads_the_rest();
  };
}

TEST_F(ExternalUnixServer, OfAPathIsThePeerStillByName) {
  start(path, SOCK_STREAM, true);
  EXPECT_EQ(cut_off_trip(ends.job, nothing, has_peer_and_the_rest(path)), "");
  EXPECT_EQ(second_trip(ends.job, nothing, has_peer_and_the_rest(path)), "");
}

TEST_F(ExternalUnixServer, OfAnAbstractNameIsThePeerStillByName) {
  start(abstract, SOCK_SEQPACKET, true);
  EXPECT_EQ(cut_off_trip(ends.job, nothing, has_peer_and_the_rest(abstract)), "");
  EXPECT_EQ(second_trip(ends.job, nothing, has_peer_and_the_rest(abstract)), "");
}

TEST_F(ExternalUnixServer, ThatHasClosedTheConnectionMayKeepItsAbstractName) {
  start(abstract, SOCK_STREAM, true);
  ::close(std::exchange(ends.outside, -1));
  ClosingTrip trip(ends.job);
  Result<> captured = trip.capture(nothing);
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  EXPECT_EQ(trip.closed.size(), 1u) << "SO_PEERCRED is that of a process that is there still";
  EXPECT_EQ(trip.verify(has_peer_and_the_rest(abstract)), "");
}

TEST_F(ExternalUnixServer, ThatHasNotAcceptedResets) {
  start(path, SOCK_STREAM, false);
  EXPECT_EQ(cut_off_trip(ends.job, nothing,
                         []() -> std::string {
                           char byte;
                           HOLDS(gives(ECONNRESET, ::read(0, &byte, 1)));
                           errno = 0;
                           HOLDS(at_end(0) && sends_no_more(0));
                           return "";
                         }),
            "");
}

// What the restarted program is to find is told to it by a page that both see.
struct NotedAddresses {
  Address own, peer;
};
NotedAddresses* noted() {
  static NotedAddresses* page = static_cast<NotedAddresses*>(
      ::mmap(nullptr, sizeof(NotedAddresses), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return page;
}

class ExternalTcp : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    Address address = place(GetParam());
    listener = ::socket(GetParam(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::bind(listener, address.raw(), address.size), 0);
    ASSERT_EQ(::listen(listener, 4), 0);
    client = connect_client();
    server = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    ASSERT_GE(server, 0);
  }
  void TearDown() override { ::close(listener), ::close(client), ::close(server); }
  int connect_client() {
    Address address = own(listener);
    int fd = ::socket(GetParam(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::connect(fd, address.raw(), address.size), 0);
    return fd;
  }
  int listener = -1, client = -1, server = -1;
};
INSTANTIATE_TEST_SUITE_P(Families, ExternalTcp, testing::Values(AF_INET, AF_INET6),
                         [](auto& tested) { return tested.param == AF_INET ? "v4" : "v6"; });

// A reset comes back for what is sent to a host whose program has ended.
std::string is_reset_after_sending() {
  HOLDS(::send(0, "x", 1, MSG_NOSIGNAL) == 1);
  pollfd one{0, 0, 0};
  HOLDS(::poll(&one, 1, 5000) == 1 && (one.revents & POLLERR) != 0);
  HOLDS(sends_no_more(0));
  return "";
}

std::string ends_with_a_fin() {
  HOLDS(own(0) == noted()->own && peer(0) == noted()->peer);
  HOLDS(read_now(0, 6) == "queued" && at_end(0));
  return is_reset_after_sending();
}

void note_addresses(int fd) { noted()->own = own(fd), noted()->peer = peer(fd); }

TEST_P(ExternalTcp, GivesWhatIsQueuedThenTheEndAndAResetToWhatIsSent) {
  for (bool is_client : {true, false}) {
    int job = is_client ? client : server, outside = is_client ? server : client;
    ASSERT_TRUE(write_text(outside, "queued"));
    note_addresses(job);
    EXPECT_EQ(cut_off_trip(job, nothing, ends_with_a_fin), "");
    EXPECT_EQ(second_trip(job, nothing, ends_with_a_fin), "");
    ASSERT_TRUE(write_text(job, "runs on"));
    EXPECT_EQ(read_now(outside, 100), "runs on") << "the connection outside is not what it was";
    EXPECT_EQ(read_now(job, 100), "queued");
  }
}

TEST_P(ExternalTcp, ThatIsHalfClosedIsOver) {
  ASSERT_TRUE(write_text(server, "queued"));
  ASSERT_EQ(::shutdown(client, SHUT_WR), 0);
  note_addresses(client);
  Check check = []() -> std::string {
    HOLDS(own(0) == noted()->own);
    HOLDS(read_now(0, 6) == "queued" && at_end(0) && sends_no_more(0));
    return "";
  };
  EXPECT_EQ(cut_off_trip(client, nothing, check), "");
  EXPECT_EQ(second_trip(client, nothing, check), "");
}

TEST_P(ExternalTcp, KeepsItsOptionsAndManyBytes) {
  std::string much(40'000, 'm');
  int on = 1;
  ASSERT_EQ(::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
  ASSERT_TRUE(write_text(server, much));
  int queued = 0;
  for (int tries = 0; tries < 1000 && queued != 40'000; ++tries, ::usleep(1000)) ::ioctl(client, FIONREAD, &queued);
  ASSERT_EQ(queued, 40'000);
  EXPECT_EQ(cut_off_trip(client, nothing,
                         [&]() -> std::string {
                           HOLDS(get(0, IPPROTO_TCP, TCP_NODELAY) == 1);
                           std::string all;
                           for (std::string more; !(more = read_now(0, 65536)).empty();) all += more;
                           HOLDS(all == much);
                           return "";
                         }),
            "");
}

TEST_P(ExternalTcp, SeveralOfOnePortAreCutOffTogether) {
  ClosingTrip trip(client);
  Address address = own(listener);
  Result<> captured = trip.capture([&] {
    for (int fd : {1, 2, 3})
      if (::socket(GetParam(), SOCK_STREAM, 0) != fd || ::connect(fd, address.raw(), address.size) != 0) return false;
    return true;
  });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  EXPECT_EQ(trip.closed.size(), 4u);
  EXPECT_EQ(trip.verify([]() -> std::string {
    for (int fd : {0, 1, 2, 3}) HOLDS(at_end(fd) && peer(fd).port() == peer(0).port());
    return "";
  }),
            "");
}

// A process outside that connects to whatever is at noted()->own, once that has a port.
class OutsideClient {
 public:
  OutsideClient() : pid_(::fork()) {
    if (pid_ != 0) return;
    while (noted()->own.port() == 0) ::usleep(1000);
    int fd = ::socket(noted()->own.storage.ss_family, SOCK_STREAM, 0);
    while (::connect(fd, noted()->own.raw(), noted()->own.size) != 0) ::usleep(1000);
    ::pause();
    ::_exit(0);
  }
  OutsideClient(const OutsideClient&) = delete;
  ~OutsideClient() {
    if (pid_ > 0) ::kill(pid_, SIGKILL), ::waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_;
};

TEST_P(ExternalTcp, ThatAServerHasAcceptedLeavesTheServerWhatItIs) {
  noted()->own = Address();
  OutsideClient outside;
  ClosingTrip trip;
  Result<> captured = trip.capture([&] {
    Address any = place(GetParam());
    bool listens = ::socket(GetParam(), SOCK_STREAM, 0) == 0 && set(0, SOL_SOCKET, SO_REUSEADDR, 1) &&
                   ::bind(0, any.raw(), any.size) == 0 && ::listen(0, 4) == 0;
    noted()->own = own(0);
    return listens && ::accept(0, nullptr, nullptr) == 1;
  });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  ASSERT_EQ(trip.closed.size(), 1u);
  EXPECT_EQ(trip.closed[0].fd, 1);
  EXPECT_EQ(trip.verify([&]() -> std::string {
    HOLDS(own(1) == noted()->own && own(0) == noted()->own && at_end(1));
    HOLDS(::socket(GetParam(), SOCK_STREAM, 0) == 2);
    HOLDS(::connect(2, noted()->own.raw(), noted()->own.size) == 0 && ::accept(0, nullptr, nullptr) == 3);
    HOLDS(write_text(2, "anew") && read_now(3, 100) == "anew");
    return "";
  }),
            "");
}

TEST_P(ExternalTcp, ThatIsNotConnectedYetIsRefused) {
  // A queue that is full lets nobody else in.
  ASSERT_EQ(::listen(listener, 0), 0);
  int waits = connect_client();
  Address address = own(listener);
  auto connect = [&] {
    return ::socket(GetParam(), SOCK_STREAM | SOCK_NONBLOCK, 0) == 0 &&
           gives(EINPROGRESS, ::connect(0, address.raw(), address.size));
  };
  EXPECT_EQ(cut_off_trip(-1, connect,
                         []() -> std::string {
                           pollfd one{0, POLLOUT, 0};
                           HOLDS(::poll(&one, 1, 0) == 1);
                           HOLDS(get(0, SOL_SOCKET, SO_ERROR) == ECONNREFUSED);
                           return "";
                         }),
            "");
  ::close(waits);
}

InetAddress ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port) {
  InetAddress address{.port = port};
  address.host[0] = a, address.host[1] = b, address.host[2] = c, address.host[3] = d;
  return address;
}

TEST(ExternalTcpElsewhere, KeepsAddressesThatThisHostDoesNotHave) {
  Result<net::Apart> apart = net::Apart::make();
  ASSERT_TRUE(apart.has_value()) << apart.error().text();
  Result<net::Place> here = apart->place({.address = ipv4(192, 0, 2, 1, 40'000)});
  Result<net::Place> there = apart->place({.address = ipv4(198, 51, 100, 7, 80)});
  ASSERT_TRUE(here.has_value() && there.has_value());
  Result<net::Connection> made = net::connect_both(*here, *there);
  ASSERT_TRUE(made.has_value()) << made.error().text();
  ASSERT_TRUE(write_text(made->server.get(), "queued"));
  note_addresses(made->client.get());
  ASSERT_EQ(noted()->own.port(), 40'000);
  auto blocks = [] { return ::fcntl(0, F_SETFL, 0) == 0; };
  EXPECT_EQ(cut_off_trip(made->client.get(), blocks, ends_with_a_fin), "");
  EXPECT_EQ(second_trip(made->client.get(), blocks, ends_with_a_fin), "");
}

TEST(ExternalPidfd, RefersToAProcessThatHasEnded) {
  pid_t other = ::fork();
  if (other == 0) ::pause(), ::_exit(0);
  ASSERT_GT(other, 0);
  EXPECT_EQ(cut_off_trip(
                -1, [&] { return ::syscall(SYS_pidfd_open, other, 0) == 0; },
                []() -> std::string {
                  pollfd one{0, POLLIN, 0};
                  HOLDS(::poll(&one, 1, 0) == 1);
                  HOLDS(gives(ESRCH, ::syscall(SYS_pidfd_send_signal, 0, 0, nullptr, 0)));
                  return "";
                }),
            "");
  EXPECT_EQ(::kill(other, 0), 0);
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
}

TEST(ExternalOwner, IsNobodyAnyMore) {
  pid_t other = ::fork();
  if (other == 0) ::pause(), ::_exit(0);
  ASSERT_GT(other, 0);
  EXPECT_EQ(cut_off_trip(
                -1,
                [&] {
                  int ends[2];
                  return ::pipe(ends) == 0 && ::fcntl(0, F_SETOWN, other) == 0;
                },
                []() -> std::string {
                  HOLDS(::fcntl(0, F_GETOWN) == 0);
                  return "";
                }),
            "");
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
}

std::string is_hung_up() {
  pollfd one{0, POLLIN, 0};
  termios modes{};
  HOLDS(::poll(&one, 1, 0) == 1 && (one.revents & POLLHUP) != 0);
  HOLDS(at_end(0) && gives(EIO, ::write(0, "x", 1)));
  HOLDS(gives(EIO, ::tcgetattr(0, &modes)));
  return "";
}

TEST(ExternalTerminal, IsHungUp) {
  int master = ::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), locked = 0;
  ASSERT_EQ(::ioctl(master, TIOCSPTLCK, &locked), 0);
  int slave = ::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(slave, 0);
  EXPECT_EQ(cut_off_trip(slave, nothing, is_hung_up), "");
  EXPECT_EQ(second_trip(slave, nothing, is_hung_up), "");
  ::close(slave), ::close(master);
}

}  // namespace
}  // namespace stint::fd
