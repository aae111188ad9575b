#include "proc/multicast.h"

#include <gtest/gtest.h>

namespace stint::proc {
namespace {

TEST(Igmp, GroupsStandBelowTheirInterface) {
  Result<std::vector<Group>> groups = parse_igmp(
      "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
      "1\tlo        :     1      V3\n"
      "\t\t\t\t010000E0     1 0:00000000\t\t0\n"
      "4\teth0      :     2      V3\n"
      "\t\t\t\tFB0000E0     1 0:00000000\t\t0\n"
      "\t\t\t\t010000E0     1 0:00000000\t\t0\n");
  ASSERT_TRUE(groups.has_value()) << groups.error().text();
  ASSERT_EQ(groups->size(), 3u);
  EXPECT_EQ((*groups)[0].interface, 1u);
  EXPECT_EQ(to_text((*groups)[0].address), "224.0.0.1:0");
  EXPECT_EQ((*groups)[1].interface, 4u);
  EXPECT_EQ(to_text((*groups)[1].address), "224.0.0.251:0");
}

TEST(Igmp, OfIpv6EachLineIsWhole) {
  Result<std::vector<Group>> groups =
      parse_igmp6("4    eth0            ff0200000000000000000001ff000002     1 00000004 0\n");
  ASSERT_TRUE(groups.has_value()) << groups.error().text();
  ASSERT_EQ(groups->size(), 1u);
  EXPECT_EQ((*groups)[0].interface, 4u);
  EXPECT_EQ(to_text((*groups)[0].address), "[ff02::1:ff00:2]:0");
}

TEST(Igmp, WhatIsNotOfThisFormIsAnError) {
  EXPECT_FALSE(parse_igmp("Idx\n\t\t\t\t010000E0     1\n").has_value());  // no interface before it
  EXPECT_FALSE(parse_igmp("Idx\nlo\n").has_value());
  EXPECT_FALSE(parse_igmp6("4 eth0 ff02 1\n").has_value());
  EXPECT_FALSE(parse_igmp6("x eth0 ff0200000000000000000001ff000002 1\n").has_value());
}

}  // namespace
}  // namespace stint::proc
