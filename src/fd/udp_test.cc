#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "fd/inet_test.h"
#include "fd/round_trip.h"

namespace stint::fd {
namespace {

bool is_connected(int fd) {
  Address address;
  return ::getpeername(fd, address.raw(), &address.size) == 0;
}

bool udp(int fd, int family = AF_INET) { return ::socket(family, SOCK_DGRAM, 0) == fd; }
bool bind_to(int fd, Address address) { return ::bind(fd, address.raw(), address.size) == 0; }
bool bound(int fd, int family = AF_INET) { return udp(fd, family) && bind_to(fd, place(family)); }
bool connect_to(int fd, Address to) { return ::connect(fd, to.raw(), to.size) == 0; }
bool disconnect(int fd) {
  sockaddr nobody{.sa_family = AF_UNSPEC, .sa_data = {}};
  return ::connect(fd, &nobody, sizeof(nobody)) == 0;
}

bool send_to(int fd, std::string_view text, Address to) {
  return ::sendto(fd, text.data(), text.size(), 0, to.raw(), to.size) == static_cast<ssize_t>(text.size());
}

struct Received {
  std::string text = "(nothing)";
  Address from;
};

Received receive(int fd) {
  Received received;
  std::string text(65536, '\0');
  received.from.storage = {};
  ssize_t got = ::recvfrom(fd, text.data(), text.size(), MSG_DONTWAIT, received.from.raw(), &received.from.size);
  if (got < 0) return received;
  text.resize(static_cast<size_t>(got));
  received.text = text;
  return received;
}

bool gives(int fd, std::string_view text, const Address& from) {
  Received received = receive(fd);
  return received.text == text && received.from == from;
}

// What a trip has to bring back is told to the other side by a page that both see.
Address* noted() {
  static Address* page =
      static_cast<Address*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return page;
}

int count(int fd) {
  int datagrams = 0;
  while (receive(fd).text != "(nothing)") ++datagrams;
  return datagrams;
}

// From 16 ports, and notes how many of them, and of one sent before, fd 0 has got.
bool send_many(const Address& to) {
  for (int i = 0; i < 16; ++i) {
    int sender = ::socket(to.storage.ss_family, SOCK_DGRAM, 0);
    if (!send_to(sender, "m", to)) return false;
    ::close(sender);
  }
  int peeked = 0, offset = 0;
  if (!set(0, SOL_SOCKET, SO_PEEK_OFF, offset)) return false;
  char byte[16];
  while (::recv(0, byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) > 0) ++peeked;
  noted()[0].size = static_cast<socklen_t>(peeked);
  return set(0, SOL_SOCKET, SO_PEEK_OFF, -1);
}

class Udp : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    noted();
    family = GetParam();
  }
  int family;
};
INSTANTIATE_TEST_SUITE_P(Families, Udp, testing::Values(AF_INET, AF_INET6),
                         [](auto& tested) { return tested.param == AF_INET ? "v4" : "v6"; });

TEST_P(Udp, WhatWaitsKeepsItsOrderItsBordersAndItsSenders) {
  EXPECT_EQ(round_trip(
                [&] {
                  if (!bound(0, family) || !bound(1, family) || !udp(2, family)) return false;
                  bool sent = send_to(1, "one", own(0)) && send_to(2, "", own(0)) && send_to(1, "three", own(0)) &&
                              send_to(0, "to itself", own(0)) && send_to(1, std::string(60000, 'x'), own(0));
                  for (int fd : {0, 1, 2}) noted()[fd] = own(fd);
                  return sent;
                },
                [&]() -> std::string {
                  for (int fd : {0, 1, 2}) HOLDS(own(fd) == noted()[fd]);
                  Address one = noted()[1], two = place(family, INADDR_LOOPBACK, noted()[2].port());
                  HOLDS(gives(0, "one", one) && gives(0, "", two) && gives(0, "three", one));
                  HOLDS(gives(0, "to itself", noted()[0]) && gives(0, std::string(60000, 'x'), one));
                  HOLDS(receive(0).text == "(nothing)");
                  HOLDS(!is_connected(0) && send_to(1, "more", own(0)) && gives(0, "more", one));
                  HOLDS(bound(3, family) && send_to(3, "another", own(0)) && gives(0, "another", own(3)));
                  HOLDS(get(0, SOL_SOCKET, SO_REUSEADDR) == 0);
                  return "";
                }),
            "");
}

TEST_P(Udp, OneAtAnyAddressKeepsWhatWaits) {
  EXPECT_EQ(round_trip(
                [&] {
                  if (!udp(0, family) || !bind_to(0, place(family, INADDR_ANY)) || !bound(1, family)) return false;
                  for (int fd : {0, 1}) noted()[fd] = own(fd);
                  Address here = place(family, INADDR_LOOPBACK, own(0).port());
                  return send_to(1, "hello", here) && send_to(0, "myself", here);
                },
                [&]() -> std::string {
                  HOLDS(own(0) == noted()[0] && !is_connected(0));
                  HOLDS(gives(0, "hello", noted()[1]));
                  HOLDS(gives(0, "myself", place(family, INADDR_LOOPBACK, noted()[0].port())));
                  return "";
                }),
            "");
}

TEST_P(Udp, SenderThatIsGoneStaysTheSender) {
  EXPECT_EQ(round_trip(
                [&] {
                  if (!bound(0, family) || !bound(1, family)) return false;
                  noted()[1] = own(1);
                  return send_to(1, "farewell", own(0)) && ::close(1) == 0;
                },
                [&]() -> std::string {
                  HOLDS(gives(0, "farewell", noted()[1]));
                  HOLDS(udp(1, family) && bind_to(1, noted()[1]));  // Nobody has kept it.
                  return "";
                }),
            "");
}

TEST_P(Udp, ConnectedPairKeepsPeersAndWhatWaits) {
  EXPECT_EQ(round_trip(
                [&] {
                  if (!bound(0, family) || !bound(1, family) || !bound(2, family)) return false;
                  for (int fd : {0, 1, 2}) noted()[fd] = own(fd);
                  // What came before it was connected stays.
                  return send_to(2, "early", own(0)) && connect_to(0, own(1)) && connect_to(1, own(0)) &&
                         ::send(1, "ab", 2, 0) == 2 && ::send(0, "cd", 2, 0) == 2;
                },
                [&]() -> std::string {
                  for (int fd : {0, 1}) HOLDS(own(fd) == noted()[fd] && peer(fd) == noted()[1 - fd]);
                  HOLDS(gives(0, "early", noted()[2]) && gives(0, "ab", noted()[1]) && gives(1, "cd", noted()[0]));
                  HOLDS(::send(0, "ef", 2, 0) == 2 && gives(1, "ef", noted()[0]));
                  HOLDS(send_to(2, "stranger", own(0)) && receive(0).text == "(nothing)");
                  return "";
                }),
            "");
}

TEST_P(Udp, OneThatIsNotBoundIsNot) {
  EXPECT_EQ(round_trip([&] { return udp(0, family); },
                       [&]() -> std::string {
                         HOLDS(own(0).port() == 0 && !is_connected(0));
                         HOLDS(bind_to(0, place(family)));
                         return "";
                       }),
            "");
}

TEST_P(Udp, PortThatTheKernelChoseIsGivenBackWithTheConnection) {
  EXPECT_EQ(round_trip(
                [&] {
                  if (!bound(0, family) || !udp(1, family) || !connect_to(1, own(0))) return false;
                  noted()[0] = own(1);
                  return true;
                },
                [&]() -> std::string {
                  HOLDS(own(1) == noted()[0] && peer(1) == own(0));
                  HOLDS(disconnect(1) && own(1).port() == 0);
                  HOLDS(connect_to(1, own(0)));
                  return "";
                }),
            "");
}

TEST_P(Udp, RefusalThatWaitsIsToldOnce) {
  EXPECT_EQ(round_trip(
                [&] {
                  if (!bound(0, family) || !bound(1, family)) return false;
                  noted()[0] = own(0), noted()[1] = own(1);
                  return ::close(1) == 0 && connect_to(0, noted()[1]) && ::send(0, "x", 1, 0) == 1;
                },
                [&]() -> std::string {
                  HOLDS(own(0) == noted()[0] && peer(0) == noted()[1]);
                  HOLDS(::recv(0, nullptr, 0, MSG_DONTWAIT) == -1 && errno == ECONNREFUSED);
                  HOLDS(::recv(0, nullptr, 0, MSG_DONTWAIT) == -1 && errno == EAGAIN);
                  return "";
                }),
            "");
}

TEST_P(Udp, ShutdownIsKept) {
  EXPECT_EQ(round_trip(
                [&] {
                  if (!bound(0, family) || !udp(1, family) || !connect_to(1, own(0))) return false;
                  ::shutdown(0, SHUT_RD);  // It says that it is not connected, and does it.
                  return ::shutdown(1, SHUT_WR) == 0;
                },
                [&]() -> std::string {
                  pollfd reader{.fd = 0, .events = POLLRDHUP, .revents = 0};
                  HOLDS(::poll(&reader, 1, 0) == 1 && (reader.revents & POLLRDHUP) != 0);
                  HOLDS(::send(1, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
                  pollfd writer{.fd = 1, .events = POLLRDHUP, .revents = 0};
                  HOLDS(::poll(&writer, 1, 0) == 0);
                  return "";
                }),
            "");
}

TEST_P(Udp, SharedPortGivesWhatComesToTheLastThatWasBound) {
  EXPECT_EQ(round_trip(
                [&] {
                  Address shared = place(family);
                  for (int fd : {0, 1, 2}) {
                    if (!udp(fd, family) || !set(fd, SOL_SOCKET, SO_REUSEADDR, 1)) return false;
                    if (fd != 0) shared = own(0);
                    if (fd == 0 && !bind_to(fd, shared)) return false;
                  }
                  // Not in the order of their numbers.
                  return bind_to(2, own(0)) && bind_to(1, own(0)) && set(1, SOL_SOCKET, SO_REUSEADDR, 0) &&
                         bound(3, family) && send_to(3, "before", own(0));
                },
                [&]() -> std::string {
                  HOLDS(own(1) == own(0) && own(2) == own(0));
                  HOLDS(receive(1).text == "before" && send_to(3, "after", own(0)));
                  HOLDS(receive(1).text == "after" && receive(0).text == "(nothing)" && receive(2).text == "(nothing)");
                  HOLDS(get(0, SOL_SOCKET, SO_REUSEADDR) == 1 && get(1, SOL_SOCKET, SO_REUSEADDR) == 0);
                  return "";
                }),
            "");
}

TEST_P(Udp, GroupOfReuseportStaysAGroup) {
  EXPECT_EQ(round_trip(
                [&] {
                  return udp(0, family) && set(0, SOL_SOCKET, SO_REUSEPORT, 1) && bind_to(0, place(family)) &&
                         udp(1, family) && set(1, SOL_SOCKET, SO_REUSEPORT, 1) && bind_to(1, own(0)) &&
                         bound(2, family) && send_to(2, "0123456789", own(0)) && send_many(own(0)) && ::close(2) == 0;
                },
                [&]() -> std::string {
                  HOLDS(own(1) == own(0) && get(0, SOL_SOCKET, SO_REUSEPORT) == 1);
                  int first = count(0), second = count(1);
                  HOLDS(first + second == 17 && first == static_cast<int>(noted()[0].size));
                  HOLDS(udp(2, family) && !bind_to(2, own(0)));
                  HOLDS(set(2, SOL_SOCKET, SO_REUSEPORT, 1) && bind_to(2, own(0)));
                  return "";
                }),
            "");
}

TEST_P(Udp, OptionsAreKept) {
  EXPECT_EQ(round_trip(
                [&] {
                  return bound(0, family) && set(0, SOL_SOCKET, SO_BROADCAST, 1) && set(0, IPPROTO_UDP, 104, 1) &&
                         set(0, IPPROTO_UDP, 103, 1200) && set(0, SOL_SOCKET, SO_RCVBUF, 50'000) &&
                         set(0, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO) && set(0, SOL_SOCKET, SO_PEEK_OFF, 3) &&
                         set(0, IPPROTO_IP, IP_MULTICAST_TTL, 7) && set(0, SOL_SOCKET, SO_TIMESTAMPNS, 1) &&
                         set(0, IPPROTO_UDP, UDP_CORK, 1);
                },
                [&]() -> std::string {
                  HOLDS(get(0, SOL_SOCKET, SO_BROADCAST) == 1 && get(0, IPPROTO_UDP, 104) == 1);
                  HOLDS(get(0, IPPROTO_UDP, 103) == 1200 && get(0, SOL_SOCKET, SO_RCVBUF) == 100'000);
                  HOLDS(get(0, IPPROTO_IP, IP_MTU_DISCOVER) == IP_PMTUDISC_DO);
                  HOLDS(get(0, SOL_SOCKET, SO_PEEK_OFF) == 3 && get(0, IPPROTO_IP, IP_MULTICAST_TTL) == 7);
                  HOLDS(get(0, SOL_SOCKET, SO_TIMESTAMPNS) == 1 && get(0, IPPROTO_UDP, UDP_CORK) == 1);
                  return "";
                }),
            "");
}

TEST_P(Udp, WhatTheProgramAskedToBeToldOfADatagramIsTold) {
  bool v6 = family == AF_INET6;
  int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
  EXPECT_EQ(round_trip(
                [&] {
                  return udp(0, family) && bind_to(0, place(family, INADDR_ANY)) &&
                         set(0, level, v6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL, 1) &&
                         set(0, level, v6 ? IPV6_RECVTCLASS : IP_RECVTOS, 1) && bound(1, family) &&
                         set(1, level, v6 ? IPV6_UNICAST_HOPS : IP_TTL, 33) &&
                         set(1, level, v6 ? IPV6_TCLASS : IP_TOS, 0x20) &&
                         send_to(1, "x", place(family, INADDR_LOOPBACK, own(0).port()));
                },
                [&]() -> std::string {
                  alignas(cmsghdr) char control[256];
                  char byte;
                  iovec vector{&byte, 1};
                  msghdr message{};
                  message.msg_iov = &vector, message.msg_iovlen = 1;
                  message.msg_control = control, message.msg_controllen = sizeof(control);
                  HOLDS(::recvmsg(0, &message, MSG_DONTWAIT) == 1);
                  int hops = 0, traffic = 0;
                  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
                    if (c->cmsg_type == (v6 ? IPV6_HOPLIMIT : IP_TTL)) std::memcpy(&hops, CMSG_DATA(c), sizeof(int));
                    if (c->cmsg_type == (v6 ? IPV6_TCLASS : IP_TOS)) std::memcpy(&traffic, CMSG_DATA(c), 1);
                  }
                  HOLDS(hops == 33 && traffic == 0x20);
                  return "";
                }),
            "");
}

TEST_P(Udp, CoalescedDatagramsStayCoalesced) {
  EXPECT_EQ(round_trip(
                [&] {
                  return bound(0, family) && set(0, IPPROTO_UDP, 104, 1) && bound(1, family) &&
                         set(1, IPPROTO_UDP, 103, 500) && send_to(1, std::string(1200, 'g'), own(0));
                },
                [&]() -> std::string {
                  HOLDS(receive(0).text == std::string(1200, 'g') && receive(0).text == "(nothing)");
                  return "";
                }),
            "");
}

TEST_P(Udp, AnEmptyDatagramThatWasLookedAtIsRefused) {
  EXPECT_THAT(refused_because([&] {
                return bound(0, family) && bound(1, family) && send_to(1, "a", own(0)) && send_to(1, "", own(0)) &&
                       set(0, SOL_SOCKET, SO_PEEK_OFF, 0) && ::recv(0, noted(), 100, MSG_PEEK) == 1 &&
                       ::recv(0, noted(), 100, MSG_PEEK) == 0 && set(0, SOL_SOCKET, SO_PEEK_OFF, -1);
              }),
              testing::HasSubstr("an empty datagram"));
}

TEST_P(Udp, WhatIsHeldBackIsRefused) {
  EXPECT_THAT(refused_because([&] {
                if (!bound(0, family) || !bound(1, family) || !connect_to(1, own(0))) return false;
                return ::send(1, "part", 4, MSG_MORE) == 4;
              }),
              testing::HasSubstr("holds back what was sent"));
}

TEST_P(Udp, DatagramOfAnotherProgramIsRefused) {
  int outside = ::socket(family, SOCK_DGRAM, 0);
  ASSERT_TRUE(bind_to(outside, place(family)));
  noted()[0] = own(outside);
  int back = ::dup(outside);
  // The program gets it as its standard input, sends from it, and closes it; we still have it.
  Trip trip;
  trip.input = back;
  Result<> captured =
      trip.capture([&] { return bound(1, family) && send_to(0, "foreign", own(1)) && ::close(0) == 0; });
  ASSERT_FALSE(captured.has_value());
  EXPECT_THAT(captured.error().text(), testing::HasSubstr("another program's port"));
  ::close(outside), ::close(back);
}

TEST_P(Udp, PortThatIsTakenIsNamedWithItsHolder) {
  Trip trip;
  Result<> captured = trip.capture([&] {
    noted()[0] = Address{};
    if (!bound(0, family)) return false;
    noted()[0] = own(0);
    return true;
  });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  int thief = ::socket(family, SOCK_DGRAM, 0);
  ASSERT_TRUE(bind_to(thief, noted()[0]));
  EXPECT_THAT(trip.verify([] { return ""; }),
              testing::AllOf(testing::HasSubstr("is taken by process "), testing::HasSubstr("UDP socket at")));
  ::close(thief);
}

TEST_P(Udp, MulticastMembershipsAreKeptWithTheirSources) {
  const char* group = family == AF_INET ? "239.9.8.7" : "ff05::9876";
  auto request = [&](group_source_req& source) {
    source = {};
    source.gsr_interface = ::if_nametoindex("lo");
    source.gsr_group.ss_family = source.gsr_source.ss_family = static_cast<sa_family_t>(family);
    void* host = &reinterpret_cast<sockaddr_in*>(&source.gsr_group)->sin_addr;
    if (family == AF_INET6) host = &reinterpret_cast<sockaddr_in6*>(&source.gsr_group)->sin6_addr;
    ::inet_pton(family, group, host);
    Address from = place(family);
    std::memcpy(&source.gsr_source, &from.storage, sizeof(source.gsr_source));
  };
  int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
  auto change = [&](int fd, int option) {
    group_source_req source;
    request(source);
    group_req whole{.gr_interface = source.gsr_interface, .gr_group = source.gsr_group};
    bool plain = option == MCAST_JOIN_GROUP || option == MCAST_LEAVE_GROUP;
    return plain ? ::setsockopt(fd, level, option, &whole, sizeof(whole)) == 0
                 : ::setsockopt(fd, level, option, &source, sizeof(source)) == 0;
  };
  EXPECT_EQ(round_trip(
                [&] {
                  return udp(0, family) && change(0, MCAST_JOIN_GROUP) && udp(1, family) &&
                         change(1, MCAST_JOIN_SOURCE_GROUP) && udp(2, family);
                },
                [&]() -> std::string {
                  HOLDS(!change(0, MCAST_JOIN_GROUP) && errno == EADDRINUSE);
                  HOLDS(change(0, MCAST_LEAVE_GROUP));
                  HOLDS(!change(1, MCAST_LEAVE_SOURCE_GROUP) ? false : !change(1, MCAST_LEAVE_SOURCE_GROUP));
                  HOLDS(!change(2, MCAST_LEAVE_GROUP));
                  return "";
                }),
            "");
}

TEST_P(Udp, FilterGoesOnFiltering) {
  EXPECT_EQ(round_trip(
                [&] {
                  sock_filter code = {BPF_RET | BPF_K, 0, 0, 0};
                  sock_fprog drop = {1, &code};
                  return bound(0, family) && bound(1, family) && send_to(1, "before", own(0)) &&
                         ::setsockopt(0, SOL_SOCKET, SO_ATTACH_FILTER, &drop, sizeof(drop)) == 0;
                },
                [&]() -> std::string {
                  HOLDS(receive(0).text == "before");
                  HOLDS(send_to(1, "dropped", own(0)) && receive(0).text == "(nothing)");
                  HOLDS(set(0, SOL_SOCKET, SO_DETACH_FILTER, 0));
                  HOLDS(send_to(1, "let through", own(0)) && receive(0).text == "let through");
                  return "";
                }),
            "");
}

TEST(UdpOfBothFamilies, ADualSocketKeepsIpv4Senders) {
  noted();
  EXPECT_EQ(round_trip(
                [] {
                  if (!udp(0, AF_INET6) || !bind_to(0, place(AF_INET6, INADDR_ANY)) || !bound(1)) return false;
                  noted()[1] = own(1);
                  return send_to(1, "v4", place(AF_INET, INADDR_LOOPBACK, own(0).port()));
                },
                []() -> std::string {
                  Received received = receive(0);
                  HOLDS(received.text == "v4" && received.from.storage.ss_family == AF_INET6);
                  HOLDS(received.from.port() == noted()[1].port());
                  HOLDS(bound(2, AF_INET6));
                  HOLDS(send_to(2, "v6", place(AF_INET6, INADDR_LOOPBACK, own(0).port())));
                  HOLDS(receive(0).text == "v6");
                  return "";
                }),
            "");
}

TEST(UdpToTheOutside, ConnectionIsKept) {
  Address far = place(AF_INET, 0xC0000209, 53);  // 192.0.2.9, of the addresses for documentation
  int probe = ::socket(AF_INET, SOCK_DGRAM, 0);
  bool reachable = connect_to(probe, far);
  ::close(probe);
  if (!reachable) GTEST_SKIP() << "no route to the outside here";
  noted();
  EXPECT_EQ(round_trip(
                [&] {
                  if (!udp(0) || !connect_to(0, far)) return false;
                  noted()[0] = own(0);
                  return true;
                },
                [&]() -> std::string {
                  HOLDS(own(0) == noted()[0] && peer(0) == far);
                  return "";
                }),
            "");
}

TEST(UdpOptions, ArrivalTimesOfWhatWaitsAreRefused) {
  EXPECT_THAT(refused_because([] {
                return bound(0) && set(0, SOL_SOCKET, SO_TIMESTAMP, 1) && bound(1) && send_to(1, "when?", own(0));
              }),
              testing::HasSubstr("time of arrival"));
}

TEST(UdpOptions, AnErrorQueueThatIsNotEmptyIsRefused) {
  noted();
  EXPECT_THAT(refused_because([] {
                if (!bound(0) || !bound(1) || !set(0, IPPROTO_IP, IP_RECVERR, 1)) return false;
                noted()[0] = own(1);
                return ::close(1) == 0 && connect_to(0, noted()[0]) && ::send(0, "x", 1, 0) == 1;
              }),
              testing::HasSubstr("an error waits in it"));
}

}  // namespace
}  // namespace stint::fd
