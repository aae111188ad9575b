// memfd: a file without a name that lives as long as its descriptors and mappings. Content, size, seals, name.
#include <sys/mman.h>

#include "test/live/program/descriptors.h"

namespace live {
namespace {

Fd make_memfd(unsigned flags, const std::string& bytes) {
  Fd memfd(EXPECT_OK(memfd_create("live", flags)));
  write_all(memfd, bytes);
  return memfd;
}

LIVE_TEST(memfd_keeps_content_position_and_name) {
  const std::string bytes = pattern(300'001);
  const Fd memfd = make_memfd(0, bytes);
  EXPECT_OK(lseek(memfd, 1234, SEEK_SET));
  freeze_point();
  EXPECT_EQ(lseek(memfd, 0, SEEK_CUR), 1234);
  EXPECT_EQ(stat_of(memfd).st_size, 300'001);
  EXPECT_TRUE(read_exactly(memfd, bytes.size() - 1234) == bytes.substr(1234));
  char link[64] = {};
  EXPECT_OK(readlink(("/proc/self/fd/" + std::to_string(memfd)).c_str(), link, sizeof link - 1));
  EXPECT_EQ(std::string(link), "/memfd:live (deleted)");
}

LIVE_TEST(sealed_memfd_stays_sealed) {
  const Fd memfd = make_memfd(MFD_ALLOW_SEALING, "sealed content");
  const int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL;
  EXPECT_OK(fcntl(memfd, F_ADD_SEALS, seals));
  freeze_point();
  EXPECT_EQ(fcntl(memfd, F_GET_SEALS), seals);
  EXPECT_EQ(pwrite(memfd, "x", 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  char bytes[15] = {};
  EXPECT_EQ(pread(memfd, bytes, 14, 0), 14);
  EXPECT_EQ(std::string(bytes), "sealed content");
}

LIVE_TEST(memfd_without_sealing_still_refuses_seals) {
  const Fd memfd = make_memfd(0, "x");
  freeze_point();
  EXPECT_EQ(fcntl(memfd, F_ADD_SEALS, F_SEAL_GROW), -1);
  EXPECT_EQ(errno, EPERM);
}

LIVE_TEST(holes_of_a_memfd_stay_holes) {
  const Fd memfd = make_memfd(0, "head");
  EXPECT_OK(ftruncate(memfd, 1L << 30));
  EXPECT_EQ(pwrite(memfd, "tail", 4, (1L << 30) - 4), 4);
  freeze_point();
  EXPECT_EQ(stat_of(memfd).st_size, 1L << 30);
  EXPECT_LT(stat_of(memfd).st_blocks, 4096);
  char bytes[5] = {};
  EXPECT_EQ(pread(memfd, bytes, 4, (1L << 30) - 4), 4);
  EXPECT_EQ(std::string(bytes), "tail");
  EXPECT_EQ(pread(memfd, bytes, 4, 1L << 20), 4);
  EXPECT_EQ(std::string(bytes, 4), std::string(4, '\0'));
}

LIVE_TEST(memfd_and_its_mappings_are_one_memory) {
  const Fd memfd = make_memfd(0, pattern(8192));
  char* first = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0));
  char* second = static_cast<char*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, memfd, 4096));
  char* own = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, memfd, 0));
  own[0] = 'P';
  freeze_point();
  first[5000] = 'M';
  EXPECT_EQ(second[5000 - 4096], 'M');
  char byte = 0;
  EXPECT_EQ(pread(memfd, &byte, 1, 5000), 1);
  EXPECT_EQ(byte, 'M');
  EXPECT_EQ(pwrite(memfd, "W", 1, 17), 1);
  EXPECT_EQ(first[17], 'W');
  EXPECT_EQ(own[0], 'P');
  EXPECT_EQ(first[0], pattern(1)[0]);
  munmap(first, 8192);
  munmap(second, 4096);
  munmap(own, 4096);
}

LIVE_TEST(mapping_of_a_closed_memfd_keeps_its_content) {
  const std::string bytes = pattern(8192, 3);
  Fd memfd = make_memfd(0, bytes);
  char* memory = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0));
  memfd.reset();
  freeze_point();
  EXPECT_TRUE(std::string(memory, 8192) == bytes);
  munmap(memory, 8192);
}

}  // namespace
}  // namespace live
