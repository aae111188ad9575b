#include <gmock/gmock.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "fd/round_trip.h"

namespace stint::fd {
namespace {

constexpr int kLevel = 270;  // SOL_NETLINK

bool netlink(int fd, int protocol, int type = SOCK_RAW) { return ::socket(AF_NETLINK, type, protocol) == fd; }

bool bind_to(int fd, uint32_t port, uint32_t groups = 0) {
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_pid = port, address.nl_groups = groups;
  return ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
}

sockaddr_nl own(int fd) {
  sockaddr_nl address{};
  socklen_t size = sizeof(address);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return address;
}

bool set(int fd, int level, int name, int value) { return ::setsockopt(fd, level, name, &value, sizeof(value)) == 0; }

int get(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof(value);
  return ::getsockopt(fd, level, name, &value, &size) == 0 ? value : -errno;
}

// Asks for all network interfaces.
bool ask(int fd) {
  struct {
    nlmsghdr header;
    rtgenmsg message;
  } request{};
  request.header.nlmsg_len = sizeof(request), request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, request.header.nlmsg_seq = 7;
  request.message.rtgen_family = AF_UNSPEC;
  return ::send(fd, &request, sizeof(request), 0) == sizeof(request);
}

// Whether the answer is to the question of this number.
bool answers(int fd, uint32_t port) {
  alignas(nlmsghdr) char answer[32768];
  ssize_t got = ::recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
  const nlmsghdr* header = reinterpret_cast<const nlmsghdr*>(answer);
  return got >= static_cast<ssize_t>(sizeof(nlmsghdr)) && header->nlmsg_type == RTM_NEWLINK && header->nlmsg_seq == 7 &&
         header->nlmsg_pid == port;
}

uint32_t* noted() {
  static uint32_t* page =
      static_cast<uint32_t*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return page;
}

TEST(NetlinkSocket, KeepsItsNumberAndGoesOnAsking) {
  noted();
  EXPECT_EQ(round_trip(
                [] {
                  if (!netlink(0, NETLINK_ROUTE, SOCK_DGRAM) || !bind_to(0, 0)) return false;
                  *noted() = own(0).nl_pid;
                  return netlink(1, NETLINK_SOCK_DIAG);
                },
                []() -> std::string {
                  HOLDS(*noted() != 0 && own(0).nl_pid == *noted() && own(1).nl_pid == 0);
                  HOLDS(get(0, SOL_SOCKET, SO_TYPE) == SOCK_DGRAM && get(1, SOL_SOCKET, SO_TYPE) == SOCK_RAW);
                  HOLDS(get(1, SOL_SOCKET, SO_PROTOCOL) == NETLINK_SOCK_DIAG);
                  HOLDS(ask(0) && answers(0, *noted()));
                  return "";
                }),
            "");
}

TEST(NetlinkSocket, KeepsItsGroupsAndOptions) {
  EXPECT_EQ(round_trip(
                [] {
                  sock_filter code = {BPF_RET | BPF_K, 0, 0, 0xffff};
                  sock_fprog filter = {1, &code};
                  return netlink(0, NETLINK_ROUTE) && bind_to(0, 0, RTMGRP_LINK | RTMGRP_IPV4_ROUTE) &&
                         set(0, kLevel, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID) && set(0, kLevel, NETLINK_EXT_ACK, 1) &&
                         set(0, kLevel, NETLINK_GET_STRICT_CHK, 1) && set(0, SOL_SOCKET, SO_RCVBUF, 50'000) &&
                         set(0, SOL_SOCKET, SO_PASSCRED, 1) && netlink(1, NETLINK_KOBJECT_UEVENT) && bind_to(1, 0, 1) &&
                         ::setsockopt(1, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) == 0;
                },
                []() -> std::string {
                  HOLDS(own(0).nl_groups == (RTMGRP_LINK | RTMGRP_IPV4_ROUTE | 1u << (RTNLGRP_NSID - 1)));
                  HOLDS(get(0, kLevel, NETLINK_EXT_ACK) == 1 && get(0, kLevel, NETLINK_GET_STRICT_CHK) == 1);
                  HOLDS(get(0, SOL_SOCKET, SO_RCVBUF) == 100'000 && get(0, SOL_SOCKET, SO_PASSCRED) == 1);
                  socklen_t count = 0;
                  HOLDS(::getsockopt(1, SOL_SOCKET, SO_GET_FILTER, nullptr, &count) == 0 && count == 1);
                  HOLDS(own(1).nl_groups == 1);
                  return "";
                }),
            "");
}

TEST(NetlinkSocket, AnswerThatWaitsIsRefused) {
  EXPECT_THAT(
      refused_because([] { return netlink(0, NETLINK_ROUTE) && bind_to(0, 0) && ask(0); }),
      testing::AllOf(testing::HasSubstr("messages of the kernel wait in it"), testing::HasSubstr("; try again")));
}

TEST(NetlinkSocket, OfWhichTheKernelKeepsMoreIsRefused) {
  EXPECT_THAT(refused_because([] { return netlink(0, NETLINK_NETFILTER); }), testing::HasSubstr("of protocol 12"));
}

TEST(NetlinkSocket, NumberThatIsTakenIsNamedWithItsHolder) {
  noted();
  Trip trip;
  Result<> captured = trip.capture([] {
    if (!netlink(0, NETLINK_USERSOCK) || !bind_to(0, 0)) return false;
    *noted() = own(0).nl_pid;
    return true;
  });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  int thief = ::socket(AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK);
  ASSERT_TRUE(bind_to(thief, *noted()));
  EXPECT_THAT(trip.verify([] { return ""; }), testing::HasSubstr("of netlink protocol 2 is taken by process "));
  ::close(thief);
}

}  // namespace
}  // namespace stint::fd
