// Mappings of files: shared ones are the file; private ones are the file where the program has not written, and its own
// pages where it has; a name that is gone must not matter.
#include <sys/mman.h>

#include "test/live/program/descriptors.h"

namespace live {
namespace {

constexpr size_t kPage = 4096;

char* map(int fd, size_t size, int protection, int flags, off_t offset = 0) {
  void* memory = mmap(nullptr, size, protection, flags, fd, offset);
  if (memory == MAP_FAILED) fail_call(__FILE__, __LINE__, "mmap");
  return static_cast<char*>(memory);
}

LIVE_TEST(shared_mapping_of_a_file_is_the_file) {
  const Scratch scratch;
  write_whole(scratch.file("data"), pattern(8 * kPage));
  Fd file = open_file(scratch.file("data"), O_RDWR);
  char* memory = map(file, 8 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
  file.reset();
  memory[3 * kPage] = 'B';
  freeze_point();
  EXPECT_EQ(memory[3 * kPage], 'B');
  memory[5 * kPage] = 'A';
  const std::string bytes = read_whole(scratch.file("data"));
  EXPECT_EQ(bytes[3 * kPage], 'B');
  EXPECT_EQ(bytes[5 * kPage], 'A');
  const Fd writer = open_file(scratch.file("data"), O_WRONLY);
  EXPECT_EQ(pwrite(writer, "W", 1, 7 * kPage), 1);
  EXPECT_EQ(memory[7 * kPage], 'W');
  munmap(memory, 8 * kPage);
}

LIVE_TEST(private_mapping_keeps_the_pages_that_were_written) {
  const Scratch scratch;
  const std::string bytes = pattern(8 * kPage, 2);
  write_whole(scratch.file("data"), bytes);
  const Fd file = open_file(scratch.file("data"), O_RDWR);
  char* memory = map(file, 6 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, 2 * kPage);
  memory[0] = '1';
  memory[4 * kPage + 9] = '2';
  freeze_point();
  std::string expected = bytes.substr(2 * kPage);
  expected[0] = '1';
  expected[4 * kPage + 9] = '2';
  EXPECT_TRUE(std::string_view(memory, 6 * kPage) == expected);
  EXPECT_TRUE(read_whole(scratch.file("data")) == bytes);
  // A dropped page is the file's again.
  EXPECT_OK(madvise(memory, kPage, MADV_DONTNEED));
  EXPECT_EQ(memory[0], bytes[2 * kPage]);
  munmap(memory, 6 * kPage);
}

LIVE_TEST(mapping_of_a_removed_file_keeps_its_content) {
  const Scratch scratch;
  const std::string bytes = pattern(4 * kPage, 3);
  write_whole(scratch.file("gone"), bytes);
  Fd file = open_file(scratch.file("gone"), O_RDWR);
  char* shared = map(file, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
  char* own = map(file, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  own[kPage] = 'O';
  // With the descriptor: for a shared mapping alone the kernel gives an ordinary user no way to the file, and it is refused.
  EXPECT_OK(unlink(scratch.file("gone").c_str()));
  freeze_point();
  EXPECT_TRUE(std::string_view(shared, 4 * kPage) == bytes);
  EXPECT_EQ(own[kPage], 'O');
  EXPECT_EQ(own[2 * kPage], bytes[2 * kPage]);
  shared[2 * kPage] = static_cast<char>(~bytes[2 * kPage]);
  EXPECT_EQ(own[2 * kPage], shared[2 * kPage]);
  munmap(shared, 4 * kPage);
  munmap(own, 4 * kPage);
}

LIVE_TEST(private_mapping_of_the_executable_reads_as_the_executable) {
  const Fd self = open_file("/proc/self/exe", O_RDONLY);
  const size_t size = 16 * kPage;
  const std::string head = read_exactly(self, size);
  char* memory = map(self, size, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  memory[100] = static_cast<char>(~memory[100]);
  freeze_point();
  std::string expected = head;
  expected[100] = static_cast<char>(~expected[100]);
  EXPECT_TRUE(std::string_view(memory, size) == expected);
  munmap(memory, size);
}

LIVE_TEST(mapping_reaches_past_the_end_of_its_file) {
  const Scratch scratch;
  write_whole(scratch.file("short"), std::string(100, 's'));
  const Fd file = open_file(scratch.file("short"), O_RDWR);
  char* memory = map(file, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  memory[200] = 'p';
  freeze_point();
  EXPECT_EQ(memory[99], 's');
  EXPECT_EQ(memory[100], '\0');
  EXPECT_EQ(memory[200], 'p');
  EXPECT_OK(ftruncate(file, 3 * kPage));
  EXPECT_EQ(memory[2 * kPage], '\0');
  munmap(memory, 4 * kPage);
}

LIVE_TEST(read_only_shared_mapping_follows_the_file) {
  const Scratch scratch;
  write_whole(scratch.file("data"), pattern(kPage, 4));
  const Fd file = open_file(scratch.file("data"), O_RDONLY);
  char* memory = map(file, kPage, PROT_READ, MAP_SHARED);
  freeze_point();
  EXPECT_TRUE(std::string_view(memory, kPage) == pattern(kPage, 4));
  const Fd writer = open_file(scratch.file("data"), O_WRONLY);
  EXPECT_EQ(pwrite(writer, "new", 3, 10), 3);
  EXPECT_EQ(std::string(memory + 10, 3), "new");
  // Opened for reading, so it must still not become writable.
  EXPECT_EQ(mprotect(memory, kPage, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(errno, EACCES);
  munmap(memory, kPage);
}

int initialised = 11;
int zeroed = 0;
const int constant = 33;

LIVE_TEST(global_variables_keep_what_was_written) {
  volatile int* const variables[] = {&initialised, &zeroed};
  *variables[0] = 1111;
  *variables[1] = 2222;
  freeze_point();
  EXPECT_EQ(*variables[0], 1111);
  EXPECT_EQ(*variables[1], 2222);
  EXPECT_EQ(*const_cast<const volatile int*>(&constant), 33);
}

}  // namespace
}  // namespace live
