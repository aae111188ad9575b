// Netlink sockets: a program that asks the kernel goes on asking, under the number that it had.
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/random.h>

#include "test/live/program/inet.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

// Its number is a random one: the kernel would choose that of the process, and other jobs have such a process, too.
Fd netlink_socket(int protocol, uint32_t groups = 0) {
  Fd fd(EXPECT_OK(socket(AF_NETLINK, SOCK_RAW, protocol)));
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  EXPECT_OK(getrandom(&address.nl_pid, sizeof address.nl_pid, 0));
  address.nl_groups = groups;
  EXPECT_OK(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address));
  return fd;
}

sockaddr_nl netlink_address(int fd) {
  sockaddr_nl address = {};
  socklen_t size = sizeof address;
  EXPECT_OK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size));
  return address;
}

// Asks for the loopback interface.
void ask(int fd) {
  struct {
    nlmsghdr header;
    ifinfomsg message;
  } request = {};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.header.nlmsg_seq = 77;
  request.message.ifi_index = 1;
  EXPECT_OK(send(fd, &request, sizeof request, 0));
}

void expect_answer(const std::string& answer, uint32_t port) {
  EXPECT_GE(answer.size(), sizeof(nlmsghdr));
  nlmsghdr header;
  memcpy(&header, answer.data(), sizeof header);
  EXPECT_EQ(header.nlmsg_type, RTM_NEWLINK);
  EXPECT_EQ(header.nlmsg_seq, 77u);
  EXPECT_EQ(header.nlmsg_pid, port);
}

LIVE_TEST(netlink_socket_asks_on_under_its_number) {
  const Fd fd = netlink_socket(NETLINK_ROUTE);
  const uint32_t port = netlink_address(fd).nl_pid;
  freeze_point();
  EXPECT_EQ(netlink_address(fd).nl_pid, port);
  ask(fd);
  expect_answer(read_once(fd), port);
}

LIVE_TEST(netlink_groups_are_kept) {
  const Fd route = netlink_socket(NETLINK_ROUTE, RTMGRP_IPV4_IFADDR);
  const Fd uevent = netlink_socket(NETLINK_KOBJECT_UEVENT, 1);
  freeze_point();
  EXPECT_EQ(netlink_address(route).nl_groups, static_cast<uint32_t>(RTMGRP_IPV4_IFADDR));
  EXPECT_EQ(netlink_address(uevent).nl_groups, 1u);
}

LIVE_TEST(netlink_reader_goes_on_waiting_for_its_answer) {
  const Fd fd = netlink_socket(NETLINK_ROUTE);
  std::string got;
  BlockedThread reader(SYS_read, [&] { got = read_once(fd); });
  freeze_point();
  EXPECT_TRUE(!reader.ended());
  ask(fd);
  reader.join();
  expect_answer(got, netlink_address(fd).nl_pid);
}

LIVE_TEST_THAT_NEEDS(netlink_answer_that_waits_is_refused, Needs::kRefusal) {
  const Fd fd = netlink_socket(NETLINK_ROUTE);
  ask(fd);
  freeze_point();
  expect_answer(read_once(fd), netlink_address(fd).nl_pid);
}

}  // namespace
}  // namespace live
