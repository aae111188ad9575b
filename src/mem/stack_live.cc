// Stacks grow by themselves, down to a limit; so do mappings made with MAP_GROWSDOWN. Code that a program wrote into
// memory must still run.
#include <string.h>
#include <sys/mman.h>

#include <sstream>
#include <thread>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

constexpr size_t kPage = 4096;

// Calls `there` with `depth` frames of 4 KiB each below it and checks every frame on the way back.
[[gnu::noinline]] unsigned dive(unsigned depth, void (*there)()) {
  volatile char frame[4000];
  for (unsigned i = 0; i < sizeof frame; i += 50) frame[i] = static_cast<char>(depth + i);
  unsigned sum = depth == 0 ? (there(), 0) : dive(depth - 1, there);
  for (unsigned i = 0; i < sizeof frame; i += 50) EXPECT_EQ(frame[i], static_cast<char>(depth + i));
  return sum + depth;
}

LIVE_TEST(grown_stack_keeps_every_frame) { EXPECT_EQ(dive(500, freeze_point), 500U * 501 / 2); }

LIVE_TEST(stack_still_grows_after_the_cut) {
  freeze_point();
  EXPECT_EQ(dive(900, [] {}), 900U * 901 / 2);
}

LIVE_TEST(shrunk_stack_can_be_used_again) {
  EXPECT_EQ(dive(600, [] {}), 600U * 601 / 2);
  freeze_point();
  EXPECT_EQ(dive(600, [] {}), 600U * 601 / 2);
}

LIVE_TEST(stack_of_a_thread_keeps_its_frames) {
  std::thread([] { EXPECT_EQ(dive(300, freeze_point), 300U * 301 / 2); }).join();
}

LIVE_TEST(mapping_that_grows_down_still_grows) {
  constexpr size_t kRoom = 512 * kPage;
  char* room = static_cast<char*>(mmap(nullptr, kRoom, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  EXPECT_TRUE(room != MAP_FAILED);
  munmap(room, kRoom);
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE;
  char* top = room + kRoom - 2 * kPage;
  EXPECT_TRUE(mmap(top, 2 * kPage, PROT_READ | PROT_WRITE, flags, -1, 0) == top);
  *reinterpret_cast<volatile char*>(top) = 't';
  *reinterpret_cast<volatile char*>(top - kPage) = 'g';
  freeze_point();
  EXPECT_EQ(top[0], 't');
  EXPECT_EQ(*(top - kPage), 'g');
  *reinterpret_cast<volatile char*>(top - 2 * kPage) = 'm';
  EXPECT_EQ(*(top - 2 * kPage), 'm');
  munmap(top - 2 * kPage, 4 * kPage);
}

// mov $value, %eax; ret
void write_code(char* at, int value) {
  at[0] = static_cast<char>(0xb8);
  memcpy(at + 1, &value, sizeof value);
  at[5] = static_cast<char>(0xc3);
}

LIVE_TEST(code_that_the_program_wrote_still_runs) {
  char* code = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  write_code(code, 4711);
  EXPECT_OK(mprotect(code, 4 * kPage, PROT_READ | PROT_EXEC));
  int (*generated)() = reinterpret_cast<int (*)()>(code);
  EXPECT_EQ(generated(), 4711);
  freeze_point();
  EXPECT_EQ(generated(), 4711);
  EXPECT_OK(mprotect(code, 4 * kPage, PROT_READ | PROT_WRITE | PROT_EXEC));
  write_code(code, 815);
  EXPECT_EQ(generated(), 815);
  munmap(code, 4 * kPage);
}

LIVE_TEST(code_with_two_mappings_of_one_memory_still_runs) {
  const Fd memfd(EXPECT_OK(memfd_create("code", MFD_CLOEXEC)));
  EXPECT_OK(ftruncate(memfd, kPage));
  char* writable = static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0));
  char* executable = static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_SHARED, memfd, 0));
  if (executable == MAP_FAILED) skip("memfd may not be mapped executable here");
  int (*generated)() = reinterpret_cast<int (*)()>(executable);
  write_code(writable, 1);
  EXPECT_EQ(generated(), 1);
  freeze_point();
  EXPECT_EQ(generated(), 1);
  write_code(writable, 2);
  EXPECT_EQ(generated(), 2);
  munmap(writable, kPage);
  munmap(executable, kPage);
}

}  // namespace
}  // namespace live
