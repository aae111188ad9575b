#include "proc/mountinfo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "sys/procfs.h"

namespace stint::proc {
namespace {

TEST(Mountinfo, ReadsNamesWithBlanksAndTags) {
  Result<std::vector<Mount>> mounts = parse_mountinfo(
      "24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,size=1k\n"
      "36 35 98:0 /mnt1 /a\\040b\\011c\\134d rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue\n");
  ASSERT_TRUE(mounts.has_value());
  ASSERT_EQ(mounts->size(), 2u);
  EXPECT_EQ((*mounts)[0].mount_point, "/dev");
  EXPECT_TRUE((*mounts)[0].tags.empty());
  const Mount& mount = (*mounts)[1];
  EXPECT_EQ(mount.id, 36u);
  EXPECT_EQ(mount.parent, 35u);
  EXPECT_EQ(mount.device(), makedev(98, 0));
  EXPECT_EQ(mount.root, "/mnt1");
  EXPECT_EQ(mount.mount_point, "/a b\tc\\d");
  EXPECT_THAT(mount.tags, testing::ElementsAre("shared:1", "master:2"));
  EXPECT_EQ(mount.fs_type, "ext3");
  EXPECT_EQ(mount.source, "/dev/root");
  EXPECT_EQ(mount.super_options, "rw,errors=continue");
}

TEST(Mountinfo, RefusesALineWithoutItsSecondHalf) {
  EXPECT_FALSE(parse_mountinfo("24 27 0:6 / /dev rw,relatime shared:1\n").has_value());
  EXPECT_FALSE(parse_mountinfo("24 27 0 / /dev rw - a b c\n").has_value());
}

TEST(Mountinfo, HasTheMountOfProc) {
  Result<std::vector<Mount>> mounts = parse_mountinfo(*sys::read_proc(Pid{0}, "mountinfo"));
  ASSERT_TRUE(mounts.has_value());
  auto proc = std::find_if(mounts->rbegin(), mounts->rend(), [](const Mount& m) { return m.mount_point == "/proc"; });
  ASSERT_NE(proc, mounts->rend());
  struct stat status;
  ASSERT_EQ(stat("/proc", &status), 0);
  EXPECT_EQ(proc->device(), status.st_dev);
  EXPECT_EQ(proc->fs_type, "proc");
}

}  // namespace
}  // namespace stint::proc
