// Mappings of files: shared ones are the file; private ones are the file where the program has not written, and its own
// pages where it has; a name that is gone must not matter.
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/wait.h>

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

// Of such a file the kernel gives an ordinary user nothing but the memory that maps it.
LIVE_TEST(shared_mappings_keep_a_file_that_has_neither_name_nor_descriptor) {
  const Scratch scratch;
  const std::string bytes = pattern(3 * kPage, 5);
  write_whole(scratch.file("gone"), bytes);
  Fd file = open_file(scratch.file("gone"), O_RDWR);
  char* own = map(file, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  char* whole = map(file, 5 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
  char* part = map(file, 2 * kPage, PROT_READ, MAP_SHARED, kPage);
  own[0] = 'O';
  file.reset();
  EXPECT_OK(unlink(scratch.file("gone").c_str()));
  freeze_point();
  EXPECT_TRUE(std::string_view(whole, 3 * kPage) == bytes);
  EXPECT_TRUE(std::string_view(part, 2 * kPage) == bytes.substr(kPage));
  EXPECT_EQ(own[0], 'O');
  EXPECT_EQ(own[kPage], bytes[kPage]);
  whole[kPage + 1] = 'W';
  EXPECT_EQ(part[1], 'W');
  EXPECT_EQ(own[kPage + 1], 'W');
  // The file is as long as it was, and no longer: the kernel cannot write to a pipe what lies beyond its end.
  auto [read_end, write_end] = make_pipe();
  EXPECT_EQ(write(write_end, whole + 3 * kPage, 1), -1);
  EXPECT_EQ(errno, EFAULT);
  munmap(own, 3 * kPage);
  munmap(whole, 5 * kPage);
  munmap(part, 2 * kPage);
}

// Another one for each run: they are of the whole machine.
std::string semaphore_name(const Scratch& scratch) { return scratch.path().substr(scratch.path().rfind('/')); }

LIVE_TEST(semaphore_without_a_name_joins_parent_and_child) {
  const Scratch scratch;
  const std::string name = semaphore_name(scratch);
  sem_t* semaphore = sem_open(name.c_str(), O_CREAT | O_EXCL, 0600, 0);
  EXPECT_TRUE(semaphore != SEM_FAILED);
  EXPECT_OK(sem_unlink(name.c_str()));
  const pid_t child = fork();
  if (child == 0) _exit(sem_wait(semaphore) == 0 ? 7 : 1);
  freeze_point();
  EXPECT_OK(sem_post(semaphore));
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_OK(sem_close(semaphore));
}

// What maps shows of it is a name that sem_open has taken away again.
LIVE_TEST(semaphore_with_a_name_is_the_one_that_is_opened_again) {
  const Scratch scratch;
  const std::string name = semaphore_name(scratch);
  sem_t* semaphore = sem_open(name.c_str(), O_CREAT | O_EXCL, 0600, 2);
  EXPECT_TRUE(semaphore != SEM_FAILED);
  const pid_t child = fork();
  if (child == 0) {
    const int value = sem_wait(semaphore) == 0 && sem_wait(semaphore) == 0 ? 0 : 1;
    _exit(sem_wait(semaphore) == 0 ? value : 2);
  }
  freeze_point();
  sem_t* again = sem_open(name.c_str(), 0);
  EXPECT_TRUE(again != SEM_FAILED);
  EXPECT_OK(sem_post(again));
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_OK(sem_close(again));
  EXPECT_OK(sem_post(semaphore));
  int value = 0;
  EXPECT_OK(sem_getvalue(semaphore, &value));
  EXPECT_EQ(value, 1);
  EXPECT_OK(sem_close(semaphore));
  EXPECT_OK(sem_unlink(name.c_str()));
}

LIVE_TEST(file_that_one_process_maps_and_another_has_open_is_one_file) {
  const Scratch scratch;
  write_whole(scratch.file("gone"), pattern(kPage, 6));
  Fd file = open_file(scratch.file("gone"), O_RDWR);
  char* memory = map(file, kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
  EXPECT_OK(unlink(scratch.file("gone").c_str()));
  auto [read_end, write_end] = make_pipe();
  const pid_t child = fork();
  if (child == 0) {
    char go = 0;
    munmap(memory, kPage);
    _exit(read(read_end, &go, 1) == 1 && pwrite(file, &go, 1, 12) == 1 ? 9 : 1);
  }
  file.reset();
  freeze_point();
  EXPECT_EQ(write(write_end, "G", 1), 1);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 9);
  EXPECT_EQ(memory[12], 'G');
  munmap(memory, kPage);
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
