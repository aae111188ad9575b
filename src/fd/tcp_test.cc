#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "fd/inet_test.h"
#include "fd/round_trip.h"

namespace stint::fd {
namespace {

bool listen_on(int fd, int family, int backlog = 8) {
  Address address = place(family);
  return ::socket(family, SOCK_STREAM, 0) == fd && ::bind(fd, address.raw(), address.size) == 0 &&
         ::listen(fd, backlog) == 0;
}

bool connect_to(int fd, int listener, int family = AF_INET) {
  Address address = own(listener);
  return ::socket(family, SOCK_STREAM, 0) == fd && ::connect(fd, address.raw(), address.size) == 0;
}

// Descriptor 0 listens, 1 is a client, 2 the accepted other end.
bool make_connection(int family = AF_INET) {
  return listen_on(0, family) && connect_to(1, 0, family) && ::accept(0, nullptr, nullptr) == 2;
}

bool fail_with(int error, int result) { return result == -1 && errno == error; }

bool send_text(int fd, std::string_view text) {
  return ::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

std::string read_all(int fd, size_t size) {
  std::string all;
  while (all.size() < size) {
    std::string more = read_now(fd, size - all.size());
    if (more.empty()) break;
    all += more;
  }
  return all;
}

// What a trip has to bring back is told to the other side by a page that both see.
struct Noted {
  Address address[8];
  size_t count = 0;
};
Noted* noted() {
  static Noted* page =
      static_cast<Noted*>(::mmap(nullptr, sizeof(Noted), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return page;
}

class Tcp : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    noted();
    family = GetParam();
  }
  int family;
};
INSTANTIATE_TEST_SUITE_P(Families, Tcp, testing::Values(AF_INET, AF_INET6),
                         [](auto& tested) { return tested.param == AF_INET ? "v4" : "v6"; });

TEST_P(Tcp, ConnectionKeepsAddressesAndWhatWaitsInBothDirections) {
  EXPECT_EQ(round_trip(
                [&] {
                  if (!make_connection(family)) return false;
                  for (int fd : {0, 1, 2}) noted()->address[fd] = own(fd);
                  return send_text(1, "to ") && send_text(1, "the server") && send_text(2, "to the client");
                },
                [&]() -> std::string {
                  for (int fd : {0, 1, 2}) HOLDS(own(fd) == noted()->address[fd]);
                  HOLDS(peer(1) == noted()->address[2] && peer(2) == noted()->address[1]);
                  HOLDS(read_now(2, 100) == "to the server" && read_now(1, 100) == "to the client");
                  HOLDS(send_text(1, "more") && read_now(2, 100) == "more");
                  HOLDS(connect_to(3, 0, family) && ::accept(0, nullptr, nullptr) == 4);
                  return "";
                }),
            "");
}

TEST_P(Tcp, HalfClosedEitherWay) {
  for (int shut : {1, 2}) {
    EXPECT_EQ(
        round_trip([&] { return make_connection(family) && send_text(shut, "last") && ::shutdown(shut, SHUT_WR) == 0; },
                   [&]() -> std::string {
                     int open = 3 - shut;
                     HOLDS(read_now(open, 100) == "last" && at_end(open));
                     HOLDS(fail_with(EPIPE, static_cast<int>(::send(shut, "x", 1, MSG_NOSIGNAL))));
                     HOLDS(send_text(open, "yet") && read_now(shut, 100) == "yet");
                     return "";
                   }),
        "");
  }
}

TEST_P(Tcp, WhoseOtherEndIsClosedGivesWhatItSentAndEnds) {
  for (int closed : {1, 2}) {
    EXPECT_EQ(round_trip(
                  [&] {
                    if (!make_connection(family) || !send_text(closed, "farewell")) return false;
                    noted()->address[0] = own(3 - closed), noted()->address[1] = peer(3 - closed);
                    return ::close(closed) == 0;
                  },
                  [&]() -> std::string {
                    int left = 3 - closed;
                    HOLDS(own(left) == noted()->address[0] && peer(left) == noted()->address[1]);
                    HOLDS(read_now(left, 100) == "farewell" && at_end(left));
                    return "";
                  }),
              "");
  }
}

TEST_P(Tcp, ThatWasAcceptedIsKeptWhenItsPeerAndItsListenerAreClosed) {
  auto make = [&] {
    if (!make_connection(family)) return false;
    noted()->address[0] = own(2), noted()->address[1] = peer(2);
    return ::close(1) == 0 && ::close(0) == 0;
  };
  auto check = []() -> std::string {
    HOLDS(own(2) == noted()->address[0] && peer(2) == noted()->address[1]);
    HOLDS(at_end(2));
    return "";
  };
  EXPECT_EQ(round_trip(make, check), "");
}

TEST_P(Tcp, ListenerKeepsTheConnectionsThatWaitInTheirOrder) {
  EXPECT_EQ(round_trip(
                [&] {
                  if (!listen_on(0, family, 5)) return false;
                  for (int fd : {1, 2, 3}) {
                    if (!connect_to(fd, 0, family)) return false;
                    noted()->address[fd] = own(fd);
                    ::usleep(10000);
                  }
                  return ::shutdown(2, SHUT_WR) == 0;
                },
                [&]() -> std::string {
                  tcp_info shown{};
                  socklen_t size = sizeof(shown);
                  HOLDS(::getsockopt(0, IPPROTO_TCP, TCP_INFO, &shown, &size) == 0);
                  HOLDS(shown.tcpi_unacked == 3 && shown.tcpi_sacked == 5);
                  for (int fd : {1, 2, 3}) {
                    HOLDS(::accept(0, nullptr, nullptr) == fd + 3);
                    HOLDS(peer(fd + 3) == noted()->address[fd]);
                  }
                  HOLDS(send_text(1, "hello") && read_now(4, 100) == "hello");
                  HOLDS(at_end(5));
                  return "";
                }),
            "");
}

TEST_P(Tcp, UnconnectedOnesStayWhatTheyAre) {
  EXPECT_EQ(round_trip(
                [&] {
                  Address address = place(family);
                  bool made = ::socket(family, SOCK_STREAM, 0) == 0 && ::socket(family, SOCK_STREAM, 0) == 1 &&
                              ::bind(1, address.raw(), address.size) == 0;
                  noted()->address[1] = own(1);
                  return made;
                },
                [&]() -> std::string {
                  HOLDS(own(1) == noted()->address[1] && ::listen(1, 1) == 0);
                  Address address = own(1);
                  HOLDS(::connect(0, address.raw(), address.size) == 0 && get(1, SOL_SOCKET, SO_REUSEADDR) == 0);
                  return "";
                }),
            "");
}

TEST_P(Tcp, FullPipeKeepsWhatTheSenderHolds) {
  for (int buffer : {0, 4096}) {
    size_t* total = &noted()->count;
    EXPECT_EQ(round_trip(
                  [&] {
                    *total = 0;
                    if (!make_connection(family) || (buffer != 0 && !set(2, SOL_SOCKET, SO_RCVBUF, buffer)))
                      return false;
                    std::string block(65536, 'x');
                    for (ssize_t sent; (sent = ::send(1, block.data(), block.size(), MSG_DONTWAIT)) > 0;)
                      *total += static_cast<size_t>(sent);
                    return errno == EAGAIN && *total > 100000;
                  },
                  [&]() -> std::string {
                    HOLDS(buffer == 0 || get(2, SOL_SOCKET, SO_RCVBUF) == 2 * buffer);
                    HOLDS(read_all(2, *total) == std::string(*total, 'x'));
                    HOLDS(fail_with(EAGAIN, static_cast<int>(::recv(2, total, 1, MSG_DONTWAIT))));
                    return "";
                  }),
              "");
  }
}

TEST_P(Tcp, CorkedBytesArrive) {
  EXPECT_EQ(
      round_trip([&] { return make_connection(family) && set(1, IPPROTO_TCP, TCP_CORK, 1) && send_text(1, "part"); },
                 []() -> std::string {
                   HOLDS(read_now(2, 100) == "part" && get(1, IPPROTO_TCP, TCP_CORK) == 1);
                   return "";
                 }),
      "");
}

TEST_P(Tcp, RefusedConnectIsToldOnce) {
  auto refuse = [&](int fd, int flags) {
    Address address = place(family);
    int closed = 9;
    if (::dup2(::socket(family, SOCK_STREAM, 0), closed) != closed) return false;
    ::close(fd);
    if (::bind(closed, address.raw(), address.size) != 0) return false;
    address = own(closed);
    ::close(closed);
    return ::socket(family, SOCK_STREAM | flags, 0) == fd && ::connect(fd, address.raw(), address.size) == -1;
  };
  EXPECT_EQ(round_trip(
                [&] {
                  if (!refuse(0, SOCK_NONBLOCK) || !refuse(1, SOCK_NONBLOCK) || !refuse(2, 0)) return false;
                  if (get(1, SOL_SOCKET, SO_ERROR) != ECONNREFUSED) return false;
                  for (int fd : {0, 1, 2}) noted()->address[fd] = own(fd);
                  return true;
                },
                [&]() -> std::string {
                  for (int fd : {0, 1, 2}) HOLDS(own(fd) == noted()->address[fd]);
                  HOLDS(get(0, SOL_SOCKET, SO_ERROR) == ECONNREFUSED && get(0, SOL_SOCKET, SO_ERROR) == 0);
                  HOLDS(get(1, SOL_SOCKET, SO_ERROR) == 0 && get(2, SOL_SOCKET, SO_ERROR) == 0);
                  HOLDS(listen_on(3, family));
                  Address address = own(3);
                  HOLDS(::connect(2, address.raw(), address.size) == 0);
                  return "";
                }),
            "");
}

TEST_P(Tcp, ThatIsOverStillGivesWhatWaits) {
  EXPECT_EQ(round_trip(
                [&] {
                  if (!make_connection(family) || !send_text(1, "rest")) return false;
                  noted()->address[2] = own(2);
                  ::shutdown(1, SHUT_WR), ::shutdown(2, SHUT_WR);
                  return ::close(1) == 0;
                },
                []() -> std::string {
                  HOLDS(own(2) == noted()->address[2] && peer(2).storage.ss_family == 0);
                  HOLDS(read_now(2, 100) == "rest" && at_end(2));
                  HOLDS(fail_with(EPIPE, static_cast<int>(::send(2, "x", 1, MSG_NOSIGNAL))));
                  return "";
                }),
            "");
}

TEST_P(Tcp, SeveralListenersShareAPort) {
  EXPECT_EQ(round_trip(
                [&] {
                  Address address = place(family);
                  for (int fd : {0, 1}) {
                    if (::socket(family, SOCK_STREAM, 0) != fd || !set(fd, SOL_SOCKET, SO_REUSEPORT, 1)) return false;
                    if (::bind(fd, address.raw(), address.size) != 0 || ::listen(fd, 8) != 0) return false;
                    address = own(0);
                  }
                  for (int fd : {2, 3, 4, 5, 6})
                    if (!connect_to(fd, 0, family)) return false;
                  for (int fd : {0, 1}) {
                    tcp_info shown{};
                    socklen_t size = sizeof(shown);
                    ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &shown, &size);
                    noted()->address[fd].size = shown.tcpi_unacked;
                  }
                  return true;
                },
                [&]() -> std::string {
                  for (int fd : {0, 1}) {
                    tcp_info shown{};
                    socklen_t size = sizeof(shown);
                    HOLDS(::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &shown, &size) == 0);
                    HOLDS(shown.tcpi_unacked == noted()->address[fd].size && get(fd, SOL_SOCKET, SO_REUSEPORT) == 1);
                  }
                  return "";
                }),
            "");
}

TEST_P(Tcp, OptionsAreKept) {
  EXPECT_EQ(round_trip(
                [&] {
                  linger wait{1, 7};
                  timeval limit{3, 0};
                  return make_connection(family) && set(1, IPPROTO_TCP, TCP_NODELAY, 1) &&
                         set(1, SOL_SOCKET, SO_KEEPALIVE, 1) && set(1, IPPROTO_TCP, TCP_KEEPIDLE, 77) &&
                         set(1, IPPROTO_TCP, TCP_KEEPINTVL, 11) && set(1, IPPROTO_TCP, TCP_KEEPCNT, 3) &&
                         set(1, IPPROTO_TCP, TCP_USER_TIMEOUT, 9000) && set(1, SOL_SOCKET, SO_SNDBUF, 30000) &&
                         ::setsockopt(2, SOL_SOCKET, SO_LINGER, &wait, sizeof(wait)) == 0 &&
                         ::setsockopt(2, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
                         set(2, SOL_SOCKET, SO_RCVLOWAT, 5) && set(2, SOL_SOCKET, SO_OOBINLINE, 1) &&
                         set(2, SOL_SOCKET, SO_REUSEADDR, 1) &&
                         ::setsockopt(2, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0 &&
                         set(0, IPPROTO_TCP, TCP_DEFER_ACCEPT, 10) && send_text(1, "abc");
                },
                []() -> std::string {
                  HOLDS(get(1, IPPROTO_TCP, TCP_NODELAY) == 1 && get(1, SOL_SOCKET, SO_KEEPALIVE) == 1);
                  HOLDS(get(1, IPPROTO_TCP, TCP_KEEPIDLE) == 77 && get(1, IPPROTO_TCP, TCP_KEEPINTVL) == 11);
                  HOLDS(get(1, IPPROTO_TCP, TCP_KEEPCNT) == 3 && get(1, IPPROTO_TCP, TCP_USER_TIMEOUT) == 9000);
                  HOLDS(get(1, SOL_SOCKET, SO_SNDBUF) == 60000 && get(2, SOL_SOCKET, SO_RCVLOWAT) == 5);
                  HOLDS(get(2, SOL_SOCKET, SO_OOBINLINE) == 1 && get(2, SOL_SOCKET, SO_REUSEADDR) == 1);
                  HOLDS(get(0, SOL_SOCKET, SO_REUSEADDR) == 0 && get(1, SOL_SOCKET, SO_REUSEADDR) == 0);
                  HOLDS(get(0, IPPROTO_TCP, TCP_DEFER_ACCEPT) >= 10);
                  char name[16] = {};
                  socklen_t size = sizeof(name);
                  HOLDS(::getsockopt(2, IPPROTO_TCP, TCP_CONGESTION, name, &size) == 0 && std::string(name) == "reno");
                  linger wait{};
                  size = sizeof(wait);
                  HOLDS(::getsockopt(2, SOL_SOCKET, SO_LINGER, &wait, &size) == 0 && wait.l_linger == 7);
                  timeval limit{};
                  size = sizeof(limit);
                  HOLDS(::getsockopt(2, SOL_SOCKET, SO_RCVTIMEO, &limit, &size) == 0 && limit.tv_sec == 3);
                  pollfd one{2, POLLIN, 0};
                  HOLDS(::poll(&one, 1, 0) == 0 && send_text(1, "de") && ::poll(&one, 1, 1000) == 1);
                  return "";
                }),
            "");
}

TEST(TcpFamilies, MeetInAnIpv4AddressMappedIntoIpv6) {
  ASSERT_NE(noted(), nullptr);
  EXPECT_EQ(round_trip(
                [] {
                  Address any;
                  any.storage.ss_family = AF_INET6;
                  any.size = sizeof(sockaddr_in6);
                  if (::socket(AF_INET6, SOCK_STREAM, 0) != 0 || !set(0, IPPROTO_IPV6, IPV6_V6ONLY, 0)) return false;
                  if (::bind(0, any.raw(), any.size) != 0 || ::listen(0, 4) != 0) return false;
                  Address v4 = place(AF_INET), bound = own(0);
                  reinterpret_cast<sockaddr_in*>(&v4.storage)->sin_port =
                      reinterpret_cast<sockaddr_in6*>(&bound.storage)->sin6_port;
                  if (::socket(AF_INET, SOCK_STREAM, 0) != 1 || ::connect(1, v4.raw(), v4.size) != 0) return false;
                  if (::accept(0, nullptr, nullptr) != 2) return false;
                  for (int fd : {0, 1, 2}) noted()->address[fd] = own(fd);
                  return send_text(2, "mapped");
                },
                []() -> std::string {
                  for (int fd : {0, 1, 2}) HOLDS(own(fd) == noted()->address[fd]);
                  HOLDS(read_now(1, 100) == "mapped" && get(2, SOL_SOCKET, SO_DOMAIN) == AF_INET6);
                  return "";
                }),
            "");
}

TEST(TcpRefusal, NamesTheOtherEndThatIsOutside) {
  ASSERT_NE(noted(), nullptr);
  int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Address address = place(AF_INET);
  ASSERT_EQ(::bind(listener, address.raw(), address.size), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  address = own(listener);
  EXPECT_THAT(refused_because([&] {
                return ::socket(AF_INET, SOCK_STREAM, 0) == 0 && ::connect(0, address.raw(), address.size) == 0;
              }),
              testing::AllOf(testing::HasSubstr("is a TCP connection to 127.0.0.1:"), testing::HasSubstr("outside")));
  ::close(listener);
}

TEST(TcpRefusal, NamesUrgentDataAndWhatWaitsUnaccepted) {
  EXPECT_THAT(refused_because([] { return make_connection() && ::send(1, "!", 1, MSG_OOB) == 1; }),
              testing::HasSubstr("urgent data (MSG_OOB)"));
  EXPECT_THAT(refused_because([] { return listen_on(0, AF_INET) && connect_to(1, 0) && send_text(1, "early"); }),
              testing::HasSubstr("data waits in a connection that is not accepted yet"));
  EXPECT_THAT(refused_because([] { return listen_on(0, AF_INET) && connect_to(1, 0) && ::close(1) == 0; }),
              testing::HasSubstr("1 connections"));
}

TEST(TcpRefusal, NamesAResetThatNobodyHasReadYet) {
  EXPECT_THAT(refused_because([] { return make_connection() && send_text(1, "unread") && ::close(2) == 0; }),
              testing::HasSubstr("an error waits in it"));
}

TEST(TcpCapture, LeavesTheConnectionAsItWas) {
  Trip trip;
  int base = ::socket(AF_INET, SOCK_STREAM, 0);
  Address address = place(AF_INET);
  ASSERT_EQ(::bind(base, address.raw(), address.size) | ::listen(base, 1), 0);
  address = own(base);
  int client = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(::connect(client, address.raw(), address.size), 0);
  int server = ::accept(base, nullptr, nullptr);
  ASSERT_TRUE(set(server, SOL_SOCKET, SO_RCVBUF, 8192) && set(server, SOL_SOCKET, SO_RCVLOWAT, 3));
  size_t total = 0;
  std::string block(65536, 'y');
  for (ssize_t sent; (sent = ::send(client, block.data(), block.size(), MSG_DONTWAIT)) > 0;)
    total += static_cast<size_t>(sent);
  Result<std::vector<Facts>> facts = look(Pid{::getpid()}, JobPid{1});
  ASSERT_TRUE(facts.has_value()) << facts.error().text();
  std::erase_if(*facts, [&](const Facts& one) {
    return one.fd.number != base && one.fd.number != client && one.fd.number != server;
  });
  std::vector<std::vector<Facts>> processes;
  processes.push_back(std::move(*facts));
  CaptureContext context{.sink = trip.stream, .files = trip.files, .shared_memory = trip.files};
  Result<> captured = capture_descriptors(processes, context);
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  EXPECT_EQ(get(server, SOL_SOCKET, SO_RCVBUF), 16384);
  EXPECT_EQ(get(server, SOL_SOCKET, SO_RCVLOWAT), 3);
  EXPECT_EQ(get(server, SOL_SOCKET, 72 /* SO_BUF_LOCK */), 2);
  EXPECT_EQ(get(client, IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(read_all(server, total).size(), total);
  for (int fd : {base, client, server}) ::close(fd);
}

}  // namespace
}  // namespace stint::fd
