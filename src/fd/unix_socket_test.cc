#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <gmock/gmock.h>

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

std::string refused_because(const std::function<bool()>& make) {
  Trip trip;
  Result<> captured = trip.capture(make);
  if (captured.has_value()) return "(not refused)";
  return captured.error().kind() == ErrorKind::kRefused ? captured.error().text()
                                                        : "(failed) " + captured.error().text();
}

TEST(UnixSocket, WithDescriptorsInItsQueueIsRefused) {
  EXPECT_THAT(refused_because([] {
                alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
                char byte = 'x';
                iovec vector{&byte, 1};
                msghdr message{};
                message.msg_iov = &vector, message.msg_iovlen = 1;
                message.msg_control = control, message.msg_controllen = sizeof(control);
                cmsghdr* header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS,
                header->cmsg_len = CMSG_LEN(sizeof(int));
                return pair(SOCK_STREAM) && ::sendmsg(0, &message, 0) == 1;
              }),
              testing::HasSubstr("fd 1 (socket:["));
}

TEST(UnixSocket, ThatListensOrHasANameIsRefused) {
  EXPECT_THAT(refused_because([] {
                sockaddr_un name{.sun_family = AF_UNIX, .sun_path = {}};
                // The kernel gives it an abstract name.
                return ::socket(AF_UNIX, SOCK_STREAM, 0) == 0 &&
                       ::bind(0, reinterpret_cast<sockaddr*>(&name), sizeof(sa_family_t)) == 0 && ::listen(0, 1) == 0;
              }),
              testing::HasSubstr("listens; close it"));
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
