#include "proc/netlink.h"

#include <gtest/gtest.h>

namespace stint::proc {
namespace {

TEST(Netlink, SocketsAreToldByProtocolPortAndInode) {
  Result<std::vector<NetlinkSocket>> sockets = parse_netlink(
      "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
      "0000000000000000 0   0          00000000 0        0        0     2        0        3       \n"
      "0000000000000000 15  3424142094 00000001 768      0        1     3        0        4242    \n");
  ASSERT_TRUE(sockets.has_value()) << sockets.error().text();
  ASSERT_EQ(sockets->size(), 2u);
  EXPECT_EQ((*sockets)[1].protocol, 15);
  EXPECT_EQ((*sockets)[1].port, 3424142094u);
  EXPECT_TRUE((*sockets)[1].dumps);
  EXPECT_FALSE((*sockets)[0].dumps);
  EXPECT_EQ((*sockets)[1].inode, 4242u);
}

TEST(Netlink, ALineThatIsCutShortIsAnError) { EXPECT_FALSE(parse_netlink("sk\n0000 15 1 00000001\n").has_value()); }

}  // namespace
}  // namespace stint::proc
