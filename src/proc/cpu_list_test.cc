#include "proc/cpu_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stint::proc {
namespace {

std::vector<uint32_t> parsed(std::string_view text) { return parse_cpu_list(text).value(); }

TEST(CpuList, NumbersAndRangesAreRead) {
  EXPECT_THAT(parsed("0\n"), testing::ElementsAre(0));
  EXPECT_THAT(parsed("0-3\n"), testing::ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(parsed("0-1,4,6-7"), testing::ElementsAre(0, 1, 4, 6, 7));
}

TEST(CpuList, WhatIsNoListIsRefused) {
  for (const char* text : {"", "\n", "a", "3-1", "1-", "1,", "0-99999999", "1 2"})
    EXPECT_FALSE(parse_cpu_list(text).has_value()) << text;
}

}  // namespace
}  // namespace stint::proc
