// UDP: what waits, who sent it, who is connected to whom, and threads that stand in calls.
#include <poll.h>
#include <sys/epoll.h>

#include "test/live/program/inet.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

void send_to(int fd, std::string_view text, const Address& to) {
  EXPECT_EQ(sendto(fd, text.data(), text.size(), 0, to.raw(), to.size), static_cast<ssize_t>(text.size()));
}

void expect_datagram(int fd, std::string_view text, const Address& sender) {
  std::string got(65536, '\0');
  Address from;
  got.resize(static_cast<size_t>(EXPECT_OK(recvfrom(fd, got.data(), got.size(), 0, from.raw(), &from.size))));
  EXPECT_EQ(got, text);
  EXPECT_EQ(from, sender);
}

bool is_empty(int fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN;
}

LIVE_TEST(udp_datagrams_keep_their_order_their_borders_and_their_senders) {
  for (const int family : {AF_INET, AF_INET6}) {
    const Fd receiver = bound_socket(SOCK_DGRAM, family), one = bound_socket(SOCK_DGRAM, family);
    Fd two = bound_socket(SOCK_DGRAM, family);
    const Address to = own_address(receiver), first = own_address(one), second = own_address(two);
    send_to(one, "from one", to);
    send_to(two, "from two, which is gone", to);
    send_to(one, pattern(9000), to);
    two.reset();
    freeze_point();
    EXPECT_EQ(own_address(receiver), to);
    expect_datagram(receiver, "from one", first);
    expect_datagram(receiver, "from two, which is gone", second);
    expect_datagram(receiver, pattern(9000), first);
    EXPECT_TRUE(is_empty(receiver));
    send_to(one, "and on", to);
    expect_datagram(receiver, "and on", first);
  }
}

LIVE_TEST(udp_connected_pair_talks_on) {
  const Fd one = bound_socket(SOCK_DGRAM);
  const Fd two = connected_socket(SOCK_DGRAM, own_address(one));
  const Address first = own_address(one), second = own_address(two);
  EXPECT_OK(connect(one, second.raw(), second.size));
  write_all(two, "question");
  freeze_point();
  EXPECT_EQ(own_address(two), second);
  EXPECT_EQ(peer_address(one), second);
  EXPECT_EQ(peer_address(two), first);
  expect_datagram(one, "question", second);
  write_all(one, "answer");
  expect_datagram(two, "answer", first);
}

LIVE_TEST(udp_receiver_goes_on_waiting_and_gets_what_comes) {
  const Fd receiver = bound_socket(SOCK_DGRAM), sender = bound_socket(SOCK_DGRAM);
  std::string got;
  BlockedThread reader(SYS_read, [&] { got = read_once(receiver); });
  freeze_point();
  EXPECT_TRUE(!reader.ended());
  send_to(sender, "late", own_address(receiver));
  reader.join();
  EXPECT_EQ(got, "late");
}

LIVE_TEST(udp_epoll_set_still_watches) {
  const Fd receiver = bound_socket(SOCK_DGRAM), sender = bound_socket(SOCK_DGRAM);
  const Fd set(EXPECT_OK(epoll_create1(0)));
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = 4711;
  EXPECT_OK(epoll_ctl(set, EPOLL_CTL_ADD, receiver, &event));
  freeze_point();
  EXPECT_EQ(epoll_wait(set, &event, 1, 0), 0);
  send_to(sender, "x", own_address(receiver));
  EXPECT_EQ(epoll_wait(set, &event, 1, 10'000), 1);
  EXPECT_EQ(event.data.u64, 4711u);
  expect_datagram(receiver, "x", own_address(sender));
}

LIVE_TEST(udp_refusal_that_waits_is_told) {
  Fd closed = bound_socket(SOCK_DGRAM);
  const Fd fd = connected_socket(SOCK_DGRAM, own_address(closed));
  closed.reset();
  write_all(fd, "x");
  freeze_point();
  EXPECT_EQ(get_option(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
  EXPECT_TRUE(is_empty(fd));
}

LIVE_TEST(udp_options_are_kept) {
  const Fd fd = bound_socket(SOCK_DGRAM);
  set_option(fd, SOL_SOCKET, SO_BROADCAST, 1);
  set_option(fd, SOL_SOCKET, SO_RCVBUF, 60'000);
  set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
  set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
  freeze_point();
  EXPECT_EQ(get_option(fd, SOL_SOCKET, SO_BROADCAST), 1);
  EXPECT_EQ(get_option(fd, SOL_SOCKET, SO_RCVBUF), 120'000);
  EXPECT_EQ(get_option(fd, IPPROTO_IP, IP_PKTINFO), 1);
  EXPECT_EQ(get_option(fd, IPPROTO_IP, IP_RECVERR), 1);
  EXPECT_EQ(get_option(fd, SOL_SOCKET, SO_REUSEADDR), 0);
}

LIVE_TEST(udp_multicast_membership_is_kept) {
  const Fd fd = bound_socket(SOCK_DGRAM);
  ip_mreqn group = {};
  group.imr_multiaddr.s_addr = htonl(0xEF090807);  // 239.9.8.7
  group.imr_ifindex = 1;
  EXPECT_OK(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
  freeze_point();
  EXPECT_EQ(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group), -1);
  EXPECT_EQ(errno, EADDRINUSE);
  EXPECT_OK(setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
}

LIVE_TEST_THAT_NEEDS(udp_error_queue_that_is_not_empty_is_refused, Needs::kRefusal) {
  Fd closed = bound_socket(SOCK_DGRAM);
  const Fd fd = connected_socket(SOCK_DGRAM, own_address(closed));
  set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
  closed.reset();
  write_all(fd, "x");
  freeze_point();
  EXPECT_EQ(get_option(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
  char bytes[256];
  EXPECT_EQ(recv(fd, bytes, sizeof bytes, MSG_ERRQUEUE | MSG_DONTWAIT), 1);
}

}  // namespace
}  // namespace live
