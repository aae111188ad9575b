#include "elf/identity.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "elf/elf.h"
#include "sys/file.h"

namespace stint::elf {
namespace {

TEST(Identity, IsBuildIdSizeAndContent) {
  sys::UniqueFd fd = *sys::open("/bin/ls", O_RDONLY);
  Bytes bytes = *sys::read_file("/bin/ls");
  FileIdentity identity = *identify(fd.get());
  EXPECT_EQ(identity.size, bytes.size());
  EXPECT_EQ(identity.content, hash128(bytes));
  EXPECT_EQ(identity.build_id, parse({.bytes = bytes})->notes.build_id);
  EXPECT_FALSE(identity.build_id.empty());
}

TEST(Identity, OfAFileThatIsNotElfHasNoBuildId) {
  sys::UniqueFd fd(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_TRUE(fd.valid());
  EXPECT_EQ(*identify(fd.get()), (FileIdentity{"", 0, hash128({})}));
  ASSERT_TRUE(sys::write_all(fd.get(), bytes_of("hello")).has_value());
  EXPECT_EQ(*identify(fd.get()), (FileIdentity{"", 5, hash128(bytes_of("hello"))}));
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_CUR), 5);
}

TEST(Identity, ChangesWithOneByte) {
  sys::UniqueFd fd(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  Bytes content(700000, std::byte{7});
  ASSERT_TRUE(sys::write_all(fd.get(), content).has_value());
  FileIdentity before = *identify(fd.get());
  ASSERT_TRUE(sys::pwrite_all(fd.get(), bytes_of("x"), 650000).has_value());
  FileIdentity after = *identify(fd.get());
  EXPECT_EQ(before.size, after.size);
  EXPECT_NE(before.content, after.content);
}

}  // namespace
}  // namespace stint::elf
