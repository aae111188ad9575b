// /proc/self/maps reads as before: same addresses, permissions, offsets and names. Two neighbours that could be one
// mapping count as one, since the kernel joins and splits those as it likes; inode numbers of memory without a name are
// new.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <vector>

#include "test/live/program/descriptors.h"

namespace live {
namespace {

struct Mapped {
  uint64_t start;
  uint64_t end;
  char permissions[8];
  uint64_t offset;
  char name[512];
};

constexpr size_t kMost = 512;

// Reads into memory that is there already: an allocation would change what is read.
size_t read_maps(Mapped* mappings, char* text, size_t room) {
  const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  size_t size = 0;
  for (ssize_t more = 1; more > 0; size += static_cast<size_t>(more)) more = read(fd, text + size, room - 1 - size);
  close(fd);
  text[size] = '\0';
  size_t count = 0;
  for (char* line = text; line < text + size && count < kMost; line = strchr(line, '\n') + 1) {
    Mapped next = {};
    sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %*s %*s%*[ ]%511[^\n]", &next.start, &next.end,
           next.permissions, &next.offset, next.name);
    Mapped* last = count == 0 ? nullptr : &mappings[count - 1];
    const bool file = next.name[0] == '/';
    if (last != nullptr && last->end == next.start && strcmp(last->permissions, next.permissions) == 0 &&
        strcmp(last->name, next.name) == 0 && (!file || last->offset + (last->end - last->start) == next.offset)) {
      last->end = next.end;
    } else {
      mappings[count++] = next;
    }
  }
  return count;
}

Mapped before[kMost];
Mapped after[kMost];
char maps_text[256 * 1024];

LIVE_TEST(maps_reads_the_same) {
  const Scratch scratch;
  write_whole(scratch.file("mapped"), pattern(65536));
  const Fd file = open_file(scratch.file("mapped"), O_RDWR);
  void* own = mmap(nullptr, 32768, PROT_READ, MAP_PRIVATE, file, 4096);
  void* shared = mmap(nullptr, 32768, PROT_READ | PROT_WRITE, MAP_SHARED, file, 8192);
  void* anonymous = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_OK(mprotect(static_cast<char*>(anonymous) + 4096, 8192, PROT_NONE));
  // Touched first, so that the pages of these arrays are no news.
  memset(before, 0, sizeof before);
  memset(after, 0, sizeof after);
  memset(maps_text, 0, sizeof maps_text);
  const size_t count = read_maps(before, maps_text, sizeof maps_text);
  freeze_point();
  const size_t count_after = read_maps(after, maps_text, sizeof maps_text);
  for (size_t i = 0; i < std::max(count, count_after); ++i) {
    char was[700];
    char is[700];
    const char* format = "%" PRIx64 "-%" PRIx64 " %s %" PRIx64 " %s";
    snprintf(was, sizeof was, format, before[i].start, before[i].end, before[i].permissions, before[i].offset,
             before[i].name);
    snprintf(is, sizeof is, format, after[i].start, after[i].end, after[i].permissions, after[i].offset, after[i].name);
    EXPECT_EQ(std::string(is), std::string(was));
  }
  munmap(own, 32768);
  munmap(shared, 32768);
  munmap(anonymous, 1 << 20);
}

LIVE_TEST(vdso_is_where_it_was_and_works) {
  const unsigned long vdso = getauxval(AT_SYSINFO_EHDR);
  const std::string head(reinterpret_cast<const char*>(vdso), 64);
  freeze_point();
  EXPECT_EQ(getauxval(AT_SYSINFO_EHDR), vdso);
  EXPECT_TRUE(std::string(reinterpret_cast<const char*>(vdso), 64) == head);
  timespec first;
  timespec second;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_OK(clock_gettime(CLOCK_MONOTONIC, &first));
    EXPECT_OK(clock_gettime(CLOCK_MONOTONIC, &second));
    EXPECT_TRUE(second.tv_sec > first.tv_sec || (second.tv_sec == first.tv_sec && second.tv_nsec >= first.tv_nsec));
  }
  EXPECT_GT(time(nullptr), 1'600'000'000);
}

LIVE_TEST(named_memory_keeps_its_name) {
  constexpr int kSetName = 0x53564d41;
  void* memory = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (prctl(kSetName, 0, memory, 8192, "live test") != 0) skip("this kernel does not name anonymous memory");
  freeze_point();
  EXPECT_TRUE(read_whole("/proc/self/maps").find("[anon:live test]") != std::string::npos);
  munmap(memory, 8192);
}

}  // namespace
}  // namespace live
