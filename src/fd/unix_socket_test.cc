#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <gmock/gmock.h>

#include <cstring>

#include "fd/round_trip.h"

namespace stint::fd {
namespace {

bool pair(int type) {
  int ends[2];
  return ::socketpair(AF_UNIX, type, 0, ends) == 0 && ends[0] == 0 && ends[1] == 1;
}

TEST(UnixSocket, KeepsWhatWaitsInAStreamInBothDirections) {
  EXPECT_EQ(
      round_trip(
          [] { return pair(SOCK_STREAM) && write_text(0, "to ") && write_text(0, "one") && write_text(1, "to zero"); },
          []() -> std::string {
            HOLDS(read_now(1, 100) == "to one" && read_now(0, 100) == "to zero");
            HOLDS(write_text(1, "more") && read_now(0, 100) == "more");
            return "";
          }),
      "");
}

TEST(UnixSocket, KeepsTheBoundariesOfMessages) {
  for (int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    EXPECT_EQ(round_trip([=] { return pair(type) && write_text(0, "first") && write_text(0, std::string(9000, 'x')); },
                         []() -> std::string {
                           HOLDS(read_now(1, 100) == "first" && read_now(1, 10000).size() == 9000);
                           HOLDS(::recv(1, nullptr, 0, MSG_DONTWAIT) == -1);
                           return "";
                         }),
              "");
  }
}

TEST(UnixSocket, CaptureTakesNothing) {
  Trip trip;
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  ASSERT_TRUE(write_text(ends[1], "still here"));
  std::vector<std::vector<Facts>> processes;
  Result<std::vector<Facts>> facts = look(Pid{::getpid()}, JobPid{1});
  ASSERT_TRUE(facts.has_value()) << facts.error().text();
  std::erase_if(*facts, [&](const Facts& one) { return one.fd.number != ends[0] && one.fd.number != ends[1]; });
  processes.push_back(std::move(*facts));
  CaptureContext context{.sink = trip.stream, .files = trip.files, .shared_memory = trip.files};
  Result<> captured = capture_descriptors(processes, context);
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  EXPECT_EQ(read_now(ends[0], 100), "still here");
  ::close(ends[0]), ::close(ends[1]);
}

TEST(UnixSocket, KeepsOptionsAndWhatIsShut) {
  EXPECT_EQ(round_trip(
                [] {
                  int size = 50000, on = 1;
                  timeval wait{3, 250000};
                  return pair(SOCK_STREAM) && ::setsockopt(0, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0 &&
                         ::setsockopt(1, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0 &&
                         ::setsockopt(1, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0 && write_text(0, "bye") &&
                         ::shutdown(0, SHUT_WR) == 0;
                },
                []() -> std::string {
                  int size = 0, on = 0;
                  timeval wait{};
                  socklen_t length = sizeof(int), wait_length = sizeof(wait);
                  HOLDS(::getsockopt(0, SOL_SOCKET, SO_SNDBUF, &size, &length) == 0 && size == 100000);
                  HOLDS(::getsockopt(1, SOL_SOCKET, SO_PASSCRED, &on, &length) == 0 && on == 1);
                  HOLDS(::getsockopt(1, SOL_SOCKET, SO_RCVTIMEO, &wait, &wait_length) == 0);
                  HOLDS(wait.tv_sec == 3 && wait.tv_usec >= 250000 - 10000 && wait.tv_usec <= 250000 + 10000);
                  HOLDS(read_now(1, 100) == "bye" && at_end(1));
                  HOLDS(::send(0, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
                  HOLDS(write_text(1, "yet") && read_now(0, 100) == "yet");
                  return "";
                }),
            "");
}

TEST(UnixSocket, KeepsThatItsPeerWent) {
  EXPECT_EQ(round_trip([] { return pair(SOCK_STREAM) && write_text(1, "last") && ::close(1) == 0; },
                       []() -> std::string {
                         HOLDS(read_now(0, 100) == "last" && at_end(0));
                         return "";
                       }),
            "");
  EXPECT_EQ(round_trip([] { return pair(SOCK_STREAM) && write_text(0, "unread") && ::close(1) == 0; },
                       []() -> std::string {
                         char byte;
                         HOLDS(::read(0, &byte, 1) == -1 && errno == ECONNRESET);
                         return "";
                       }),
            "");
}

TEST(UnixSocket, ThatWasNeverConnectedIsKept) {
  EXPECT_EQ(round_trip([] { return ::socket(AF_UNIX, SOCK_DGRAM, 0) == 0; },
                       []() -> std::string {
                         int type = 0;
                         socklen_t size = sizeof(type);
                         HOLDS(::getsockopt(0, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_DGRAM);
                         HOLDS(::send(0, "x", 1, 0) == -1 && errno == ENOTCONN);
                         return "";
                       }),
            "");
}

bool send_with(int socket, char byte, int carried) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec vector{&byte, 1};
  msghdr message{};
  message.msg_iov = &vector, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS, header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &carried, sizeof(carried));
  return ::sendmsg(socket, &message, 0) == 1;
}

// The descriptor that came with the next bytes; -1 for none.
int receive_with(int socket, std::string& text, size_t most) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  text.resize(most);
  iovec vector{text.data(), most};
  msghdr message{};
  message.msg_iov = &vector, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof(control);
  ssize_t got = ::recvmsg(socket, &message, MSG_DONTWAIT);
  text.resize(got < 0 ? 0 : static_cast<size_t>(got));
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (got < 0 || header == nullptr || header->cmsg_type != SCM_RIGHTS) return -1;
  int carried = -1;
  std::memcpy(&carried, CMSG_DATA(header), sizeof(carried));
  return carried;
}

TEST(UnixSocket, KeepsDescriptorsInItsQueueAndWhereInAStreamTheyAre) {
  EXPECT_EQ(round_trip(
                [] {
                  int ends[2];
                  return pair(SOCK_STREAM) && ::pipe(ends) == 0 && write_text(ends[1], "in the pipe") &&
                         write_text(0, "before") && send_with(0, 'x', ends[0]) && write_text(0, "after") &&
                         send_with(0, 'y', ends[0]) && ::close(ends[0]) == 0;
                },
                []() -> std::string {
                  std::string text;
                  HOLDS(receive_with(1, text, 6) == -1 && text == "before");
                  int first = receive_with(1, text, 100);
                  HOLDS(text == "x" && first >= 0);
                  HOLDS(receive_with(1, text, 5) == -1 && text == "after");
                  int second = receive_with(1, text, 100);
                  HOLDS(text == "y" && second >= 0);
                  HOLDS(::syscall(SYS_kcmp, ::getpid(), ::getpid(), 0, first, second) == 0);
                  HOLDS(read_now(first, 100) == "in the pipe");
                  HOLDS(write_text(3, "more") && read_now(second, 100) == "more");
                  return "";
                }),
            "");
}

TEST(UnixSocket, KeepsASocketInItsQueueThatHasMessagesItself) {
  EXPECT_EQ(round_trip(
                [] {
                  int inner[2];
                  return pair(SOCK_SEQPACKET) && ::socketpair(AF_UNIX, SOCK_DGRAM, 0, inner) == 0 &&
                         send_with(inner[0], 'a', 0) && write_text(inner[0], "second") && send_with(0, 'b', inner[1]) &&
                         ::close(inner[1]) == 0;
                },
                []() -> std::string {
                  std::string text;
                  int inner = receive_with(1, text, 10);
                  HOLDS(text == "b" && inner >= 0);
                  int outer = receive_with(inner, text, 10);
                  HOLDS(text == "a" && ::syscall(SYS_kcmp, ::getpid(), ::getpid(), 0, outer, 0) == 0);
                  HOLDS(read_now(inner, 10) == "second");
                  return "";
                }),
            "");
}

struct Name {
  explicit Name(std::string_view path) {
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    size = static_cast<socklen_t>(sizeof(sa_family_t) + path.size() + (path.empty() || path[0] == '\0' ? 0 : 1));
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
  bool is_of(int fd, bool peer) const {
    sockaddr_un got{};
    socklen_t length = sizeof(got);
    if ((peer ? ::getpeername : ::getsockname)(fd, reinterpret_cast<sockaddr*>(&got), &length) != 0) return false;
    return length == size && std::memcmp(&got, &address, size) == 0;
  }
  sockaddr_un address{};
  socklen_t size;
};

int bound(int type, const Name& name) {
  int fd = ::socket(AF_UNIX, type, 0);
  return ::bind(fd, name.get(), name.size) == 0 ? fd : -1;
}

int connected(int type, const Name& name) {
  int fd = ::socket(AF_UNIX, type, 0);
  return ::connect(fd, name.get(), name.size) == 0 ? fd : -1;
}

// In a directory of the test's own.
class UnixSocketName : public testing::Test {
 protected:
  UnixSocketName() { ::mkdtemp(directory_); }
  ~UnixSocketName() override {
    for (const char* name : {"socket", "other", "third"}) ::unlink(path(name).c_str());
    ::rmdir(directory_);
  }
  std::string path(std::string_view name) const { return std::string(directory_) + "/" + std::string(name); }
  char directory_[32] = "/tmp/stint-unix-XXXXXX";
};

TEST_F(UnixSocketName, AListenerKeepsItsNameItsFileAndConnectionsThatWait) {
  Name name(path("socket"));
  EXPECT_EQ(round_trip(
                [&] {
                  return bound(SOCK_STREAM, name) == 0 && ::chmod(path("socket").c_str(), 0751) == 0 &&
                         ::listen(0, 5) == 0 && connected(SOCK_STREAM, name) == 1 &&
                         connected(SOCK_STREAM, name) == 2 && ::shutdown(2, SHUT_WR) == 0;
                },
                [&]() -> std::string {
                  struct stat file;
                  HOLDS(::stat(path("socket").c_str(), &file) == 0 && (file.st_mode & 07777) == 0751);
                  HOLDS(name.is_of(0, false) && name.is_of(1, true));
                  int first = ::accept(0, nullptr, nullptr), second = ::accept(0, nullptr, nullptr);
                  HOLDS(name.is_of(first, false));
                  HOLDS(write_text(1, "one") && read_now(first, 10) == "one" && at_end(second));
                  int third = connected(SOCK_STREAM, name);
                  HOLDS(third >= 0 && ::fcntl(0, F_SETFL, O_NONBLOCK) == 0);
                  HOLDS(::accept(0, nullptr, nullptr) >= 0 && ::accept(0, nullptr, nullptr) == -1);
                  return "";
                }),
            "");
}

TEST_F(UnixSocketName, ConnectionsKeepNamesOfListenersThatAreGone) {
  Name name(path("socket")), client(path("other"));
  EXPECT_EQ(round_trip(
                [&] {
                  int listener = bound(SOCK_SEQPACKET, name), one = bound(SOCK_SEQPACKET, client);
                  return listener == 0 && one == 1 && ::listen(0, 1) == 0 && ::connect(1, name.get(), name.size) == 0 &&
                         ::accept(0, nullptr, nullptr) == 2 && write_text(2, "to the client") && ::close(0) == 0 &&
                         ::unlink(path("socket").c_str()) == 0 && bound(SOCK_STREAM, name) == 0 && ::listen(0, 1) == 0;
                },
                [&]() -> std::string {
                  HOLDS(name.is_of(0, false) && name.is_of(1, true) && name.is_of(2, false));
                  HOLDS(client.is_of(1, false) && client.is_of(2, true));
                  HOLDS(read_now(1, 100) == "to the client" && write_text(1, "back") && read_now(2, 10) == "back");
                  int fresh = connected(SOCK_STREAM, name);
                  HOLDS(fresh >= 0 && ::access(path("other").c_str(), F_OK) == 0);
                  return "";
                }),
            "");
}

TEST_F(UnixSocketName, ThatIsUnlinkedRelativeOrRenamedIsKept) {
  Name gone(path("socket")), relative("other"), before(path("third"));
  EXPECT_EQ(round_trip(
                [&] {
                  return ::chdir(directory_) == 0 && bound(SOCK_STREAM, gone) == 0 &&
                         ::unlink(path("socket").c_str()) == 0 && bound(SOCK_DGRAM, relative) == 1 &&
                         bound(SOCK_STREAM, before) == 2 && ::listen(2, 1) == 0 &&
                         ::rename(path("third").c_str(), path("socket").c_str()) == 0;
                },
                [&]() -> std::string {
                  HOLDS(gone.is_of(0, false) && relative.is_of(1, false) && before.is_of(2, false));
                  int sender = connected(SOCK_DGRAM, Name(path("other")));
                  HOLDS(write_text(sender, "found") && read_now(1, 10) == "found");
                  HOLDS(::access(path("third").c_str(), F_OK) == -1 && connected(SOCK_STREAM, gone) >= 0);
                  return "";
                }),
            "");
}

TEST_F(UnixSocketName, MayBeAbstractOrChosenByTheKernel) {
  using namespace std::string_literals;
  Name name("\0stint test of unix sockets"s);
  Name any("");
  sockaddr_un chosen{};
  socklen_t size = sizeof(chosen);
  int report[2];
  ASSERT_EQ(::pipe(report), 0);
  Trip trip;
  trip.input = report[1];
  Result<> captured = trip.capture([&] {
    bool made = bound(SOCK_STREAM, name) == 1 && ::listen(1, 3) == 0 && connected(SOCK_STREAM, name) == 2 &&
                ::accept(1, nullptr, nullptr) == 3 && bound(SOCK_DGRAM, any) == 4 && write_text(2, "hello") &&
                ::getsockname(4, reinterpret_cast<sockaddr*>(&chosen), &size) == 0;
    return made && ::write(0, &chosen, size) == size && ::close(0) == 0;
  });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  size = static_cast<socklen_t>(::read(report[0], &chosen, sizeof(chosen)));
  ::close(report[0]), ::close(report[1]);
  EXPECT_EQ(trip.verify([&]() -> std::string {
    HOLDS(name.is_of(1, false) && name.is_of(2, true) && name.is_of(3, false));
    HOLDS(read_now(3, 10) == "hello" && connected(SOCK_STREAM, name) >= 0);
    sockaddr_un now{};
    socklen_t length = sizeof(now);
    HOLDS(::getsockname(4, reinterpret_cast<sockaddr*>(&now), &length) == 0 && length == size);
    HOLDS(std::memcmp(&now, &chosen, size) == 0 && size == sizeof(sa_family_t) + 6);
    return "";
  }),
            "");
}

TEST_F(UnixSocketName, DatagramsKeepWhoSentThemAndWhoIsConnectedToWhom) {
  Name name(path("socket")), sender(path("other")), gone(path("third"));
  EXPECT_EQ(round_trip(
                [&] {
                  bool made = bound(SOCK_DGRAM, name) == 0 && bound(SOCK_DGRAM, sender) == 1 &&
                              ::connect(1, name.get(), name.size) == 0 && bound(SOCK_DGRAM, gone) == 2 &&
                              ::connect(2, name.get(), name.size) == 0 && connected(SOCK_DGRAM, name) == 3;
                  return made && write_text(1, "named") && write_text(2, "gone") && write_text(3, "nameless") &&
                         ::close(2) == 0 && ::unlink(path("third").c_str()) == 0 &&
                         ::connect(0, sender.get(), sender.size) == 0;
                },
                [&]() -> std::string {
                  for (auto [text, from] : {std::pair("named", &sender), {"gone", &gone}, {"nameless", nullptr}}) {
                    char buffer[16];
                    sockaddr_un address{};
                    socklen_t length = sizeof(address);
                    ssize_t got = ::recvfrom(0, buffer, sizeof(buffer), MSG_DONTWAIT,
                                             reinterpret_cast<sockaddr*>(&address), &length);
                    HOLDS(got > 0 && std::string_view(buffer, static_cast<size_t>(got)) == text);
                    HOLDS(length == (from == nullptr ? 0 : from->size));
                    HOLDS(from == nullptr || std::memcmp(&address, &from->address, length) == 0);
                  }
                  HOLDS(name.is_of(1, true) && sender.is_of(0, true) && name.is_of(3, true));
                  HOLDS(::send(3, "x", 1, 0) == -1 && errno == EPERM);
                  HOLDS(write_text(0, "back") && read_now(1, 10) == "back");
                  return "";
                }),
            "");
}

TEST_F(UnixSocketName, ADatagramSocketThatSendsToOneOutsideIsConnectedAgain) {
  Name name(path("socket"));
  int log = bound(SOCK_DGRAM, name);
  ASSERT_GE(log, 0);
  EXPECT_EQ(round_trip([&] { return connected(SOCK_DGRAM, name) == 0 && write_text(0, "one"); },
                       [&]() -> std::string {
                         HOLDS(name.is_of(0, true) && write_text(0, "two"));
                         return "";
                       }),
            "");
  EXPECT_EQ(read_now(log, 10), "one");
  EXPECT_EQ(read_now(log, 10), "two");
  ::close(log);
}

TEST_F(UnixSocketName, OfAnotherProgramIsNotTaken) {
  Name name(path("socket"));
  Trip trip;
  Result<> captured = trip.capture([&] { return bound(SOCK_STREAM, name) == 0 && ::listen(0, 1) == 0; });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  ::unlink(path("socket").c_str());
  int other = bound(SOCK_STREAM, name);
  ASSERT_GE(other, 0);
  EXPECT_THAT(trip.verify([] { return std::string(); }), testing::HasSubstr("another program's now"));
  ::close(other);
  ::unlink(path("socket").c_str());
  int file = ::open(path("socket").c_str(), O_CREAT | O_WRONLY, 0600);
  EXPECT_THAT(trip.verify([] { return std::string(); }), testing::HasSubstr("another file now"));
  ::close(file);
}

TEST(UnixSocket, KeepsEmptyMessagesOfASeqpacketPair) {
  EXPECT_EQ(
      round_trip(
          [] { return pair(SOCK_SEQPACKET) && write_text(0, "a") && ::send(0, "", 0, 0) == 0 && write_text(0, "b"); },
          []() -> std::string {
            HOLDS(read_now(1, 10) == "a" && ::recv(1, nullptr, 0, MSG_DONTWAIT) == 0 && read_now(1, 10) == "b");
            HOLDS(::recv(1, nullptr, 0, MSG_DONTWAIT) == -1 && errno == EAGAIN);
            return "";
          }),
      "");
}

TEST(UnixSocket, KeepsCredentialsOfThePeerAndOfMessages) {
  pid_t program = 0;
  Trip trip;
  Result<> captured = trip.capture([] {
    int on = 1;
    return pair(SOCK_STREAM) && ::setsockopt(1, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0 && write_text(0, "x");
  });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  program = trip.pid;
  EXPECT_EQ(trip.verify([&]() -> std::string {
    ucred peer{};
    socklen_t size = sizeof(peer);
    HOLDS(::getsockopt(0, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == program);
    alignas(cmsghdr) char control[128] = {};
    char byte;
    iovec vector{&byte, 1};
    msghdr message{};
    message.msg_iov = &vector, message.msg_iovlen = 1;
    message.msg_control = control, message.msg_controllen = sizeof(control);
    HOLDS(::recvmsg(1, &message, 0) == 1);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    HOLDS(header != nullptr && header->cmsg_type == SCM_CREDENTIALS);
    std::memcpy(&peer, CMSG_DATA(header), sizeof(peer));
    HOLDS(peer.pid == program && peer.uid == ::getuid());
    return "";
  }),
            "");
}

TEST_F(UnixSocketName, WhatWasSentBeforeTheConnectionIsAcceptedIsRefused) {
  Name name(path("socket"));
  EXPECT_THAT(refused_because([&] {
                return bound(SOCK_STREAM, name) == 0 && ::listen(0, 1) == 0 && connected(SOCK_STREAM, name) == 1 &&
                       write_text(1, "early");
              }),
              testing::HasSubstr("nobody has accepted yet cannot be seen"));
  ::unlink(path("socket").c_str());
  EXPECT_THAT(refused_because([&] {
                return bound(SOCK_STREAM, name) == 0 && ::listen(0, 1) == 0 && connected(SOCK_STREAM, name) == 1 &&
                       ::close(1) == 0;
              }),
              testing::HasSubstr("closed again waits to be accepted"));
}

TEST_F(UnixSocketName, ThatLeadsOutsideIsRefused) {
  Name name(path("socket"));
  int listener = bound(SOCK_STREAM, name);
  ASSERT_EQ(::listen(listener, 1), 0);
  EXPECT_THAT(refused_because([&] { return connected(SOCK_STREAM, name) == 0; }),
              testing::HasSubstr("listener outside of the job"));
  ::close(listener);
}

TEST(UnixSocket, WhoseOtherEndIsOutsideIsRefused) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Trip trip;
  trip.input = ends[0];
  Result<> captured = trip.capture([] { return true; });
  ASSERT_FALSE(captured.has_value());
  EXPECT_THAT(captured.error().text(), testing::HasSubstr("other end is open outside of the job"));
  ::close(ends[0]), ::close(ends[1]);
}

}  // namespace
}  // namespace stint::fd
