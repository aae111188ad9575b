// Memory that changes while it is copied: two threads change one address space at random, each in an area of its own,
// in every way that the kernel has, and know of each page what it must hold.
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "test/live/program/descriptors.h"

namespace live {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kPages = 3072;
constexpr size_t kFilePages = 16;
constexpr unsigned kFileContent = 1U << 31;

unsigned long next(unsigned long& state) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

// What a page holds: nothing but zeroes, or what follows from a number.
void fill(char* page, unsigned content) {
  unsigned long state = content * 0x9e3779b97f4a7c15UL + 1;
  for (size_t at = 0; at < kPage; at += sizeof(state)) {
    const unsigned long word = content == 0 ? 0 : next(state);
    memcpy(page + at, &word, sizeof(word));
  }
}

bool holds(const char* page, unsigned content) {
  char wanted[kPage];
  fill(wanted, content);
  return memcmp(page, wanted, kPage) == 0;
}

class Area {
 public:
  explicit Area(unsigned long seed) : seed_(seed), state_(seed), content_(kPages, 0), closed_(kPages, false) {
    memory_ = static_cast<char*>(mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, kFlags, -1, 0));
    if (memory_ == MAP_FAILED) fail_call(__FILE__, __LINE__, "mmap");
    growing_ = static_cast<char*>(mmap(nullptr, kGrown, PROT_READ | PROT_WRITE, kFlags, -1, 0));
    EXPECT_TRUE(growing_ != MAP_FAILED);
    EXPECT_OK(munmap(growing_ + kGrown / 2, kGrown / 2));
    fill(growing_, 1);
    make_file();
    for (size_t i = 0; i < kPages; i += 3) write(i, i + 2);
  }
  ~Area() {
    munmap(memory_, kPages * kPage);
    munmap(growing_, grown_);
    close(file_);
    if (direct_ >= 0) close(direct_);
  }
  Area(const Area&) = delete;
  Area& operator=(const Area&) = delete;

  // One change. No other thread may be using the heap if `alone`.
  void change(bool alone) {
    const size_t first = pick(kPages), last = std::min(kPages, first + 1 + pick(pick(8) == 0 ? 256 : 8));
    switch (pick(14)) {
      case 0:
      case 1:
      case 2:
        return write(first, last);
      case 3:
        return drop(first, last);
      case 4:
        return map_anew(first, last);
      case 5:
        return move(first, last, pick(kPages));
      case 6:
        return set_access(first, last, true);
      case 7:
        return set_access(0, kPages, false);
      case 8:
        return have_kernel_write(first, std::min(last, first + kFilePages));
      case 9:
        madvise(memory_ + first * kPage, (last - first) * kPage, pick(2) == 0 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        return;
      case 10:
        if (pick(16) == 0) be_seen_by_a_child();
        return;
      case 11:
        return grow_in_place();
      case 12:
        if (alone) grow_stack(pick(32) + 1);
        return;
      default:
        if (alone) grow_heap();
    }
  }

  void check() {
    set_access(0, kPages, false);
    for (size_t i = 0; i < kPages; ++i)
      if (!holds(page(i), content_[i]))
        fail(__FILE__, __LINE__,
             "seed " + std::to_string(seed_) + ": page " + std::to_string(i) + " of " + std::to_string(kPages) +
                 " does not hold " + std::to_string(content_[i]) + ", after change " + std::to_string(latest_));
  }

 private:
  static constexpr size_t kGrown = 32 * kPage;
  static constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

  char* page(size_t number) { return memory_ + number * kPage; }
  size_t pick(size_t count) { return next(state_) % count; }

  void make_file() {
    file_ = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    EXPECT_GE(file_, 0);
    char content[kPage];
    for (size_t i = 0; i < kFilePages; ++i) {
      fill(content, kFileContent | static_cast<unsigned>(i));
      EXPECT_EQ(pwrite(file_, content, kPage, static_cast<off_t>(i * kPage)), static_cast<ssize_t>(kPage));
    }
    // Not every file system has it.
    direct_ = open(("/proc/self/fd/" + std::to_string(file_)).c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  }

  void write(size_t first, size_t last) {
    set_access(first, last, false);
    for (size_t i = first; i < last; ++i) fill(page(i), content_[i] = ++latest_);
  }

  void drop(size_t first, size_t last) {
    EXPECT_OK(madvise(page(first), (last - first) * kPage, MADV_DONTNEED));
    for (size_t i = first; i < last; ++i) content_[i] = 0;
  }

  void map_anew(size_t first, size_t last) {
    if (pick(2) == 0) EXPECT_OK(munmap(page(first), (last - first) * kPage));
    const void* there = mmap(page(first), (last - first) * kPage, PROT_READ | PROT_WRITE, kFlags | MAP_FIXED, -1, 0);
    EXPECT_TRUE(there == page(first));
    for (size_t i = first; i < last; ++i) content_[i] = 0, closed_[i] = false;
  }

  // What several mappings hold may not be moved at once, or (Linux 6.17 and later) not all of it.
  void move(size_t first, size_t last, size_t to) {
    const size_t count = last - first;
    if (to + count > kPages || (to < last && first < to + count)) return;
    set_access(first, last, false);
    const bool moved =
        mremap(page(first), count * kPage, count * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, page(to)) != MAP_FAILED;
    if (!moved) map_anew(to, to + count);
    for (size_t i = 0; moved && i < count; ++i) content_[to + i] = content_[first + i], closed_[to + i] = false;
    map_anew(first, last);
  }

  void set_access(size_t first, size_t last, bool none) {
    EXPECT_OK(mprotect(page(first), (last - first) * kPage, none ? PROT_NONE : PROT_READ | PROT_WRITE));
    for (size_t i = first; i < last; ++i) closed_[i] = none;
  }

  void have_kernel_write(size_t first, size_t last) {
    set_access(first, last, false);
    const int from = direct_ >= 0 && pick(2) == 0 ? direct_ : file_;
    const size_t size = (last - first) * kPage;
    if (pread(from, page(first), size, 0) != static_cast<ssize_t>(size)) fail_call(__FILE__, __LINE__, "pread");
    for (size_t i = first; i < last; ++i) content_[i] = kFileContent | static_cast<unsigned>(i - first);
  }

  // It has all as it was, and changes it without us.
  void be_seen_by_a_child() {
    const pid_t child = EXPECT_OK(fork());
    if (child == 0) {
      bool good = true;
      for (size_t i = 0; i < kPages; ++i) {
        if (closed_[i]) continue;
        good = good && holds(page(i), content_[i]);
        if (i % 7 == 0) fill(page(i), 1);
      }
      _exit(good ? 0 : 1);
    }
    write(0, kPages / 2);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    EXPECT_EQ(status, 0);
  }

  // And back. It does not grow where somebody else has come to be behind it.
  void grow_in_place() {
    const size_t wanted = grown_ == kGrown ? kGrown / 2 : kGrown;
    char* last = growing_ + kGrown - kPage;
    EXPECT_TRUE(holds(growing_, first_content_));
    if (grown_ == kGrown) EXPECT_TRUE(holds(last, last_content_));
    fill(growing_, first_content_ = ++latest_);
    if (mremap(growing_, grown_, wanted, 0) == MAP_FAILED) return;
    grown_ = wanted;
    if (grown_ < kGrown) return;
    EXPECT_TRUE(holds(last, 0));
    fill(last, last_content_ = ++latest_);
  }

  [[gnu::noinline]] static unsigned grow_stack(size_t pages) {
    char page[kPage];
    fill(page, static_cast<unsigned>(pages));
    const unsigned below = pages > 1 ? grow_stack(pages - 1) : 0;
    EXPECT_TRUE(holds(page, static_cast<unsigned>(pages)));
    return below + 1;
  }

  void grow_heap() {
    constexpr size_t kMore = 8 * kPage;
    char* more = static_cast<char*>(sbrk(kMore));
    if (more == reinterpret_cast<char*>(-1)) return;
    for (size_t at = 0; at + kPage <= kMore; at += kPage) fill(more + at, latest_ + 1);
    bool good = true;
    for (size_t at = 0; at + kPage <= kMore; at += kPage) good = good && holds(more + at, latest_ + 1);
    sbrk(-static_cast<intptr_t>(kMore));
    EXPECT_TRUE(good);
  }

  unsigned long seed_, state_;
  std::vector<unsigned> content_;
  std::vector<bool> closed_;  // to every access
  char* memory_ = nullptr;
  int file_ = -1, direct_ = -1;
  unsigned latest_ = 0;
  char* growing_ = nullptr;
  size_t grown_ = kGrown / 2;
  unsigned first_content_ = 1, last_content_ = 0;
};

unsigned long fresh_seed() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<unsigned long>(now.tv_nsec) * 2 + 1;
}

LIVE_TEST(memory_that_changes_while_it_is_copied_is_what_it_was) {
  constexpr int kChanges = 400;
  Area area(fresh_seed());
  Area others(fresh_seed());
  std::atomic<bool> enough = false;
  std::thread thread([&] {
    while (!enough) {
      for (int i = 0; i < 20; ++i) others.change(false);
      others.check();
    }
  });
  for (int i = 0; i < kChanges; ++i) area.change(true);
  freeze_point();
  area.check();
  for (int i = 0; i < kChanges; ++i) area.change(true);
  area.check();
  freeze_point();
  enough = true;
  thread.join();
  others.check();
}

// Large enough that it is copied before the stop by itself.
LIVE_TEST(a_large_memory_that_changes_is_what_it_was) {
  constexpr size_t kSize = 64UL << 20;
  char* memory = static_cast<char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  EXPECT_TRUE(memory != MAP_FAILED);
  for (size_t at = 0; at < kSize; at += kPage) fill(memory + at, static_cast<unsigned>(at / kPage + 1));
  std::atomic<bool> enough = false;
  unsigned rounds = 0;
  std::thread thread([&] {
    for (; !enough; ++rounds)
      for (size_t at = rounds % 5 * kPage; at < kSize; at += 97 * kPage)
        fill(memory + at, static_cast<unsigned>(at / kPage + 1) + rounds);
  });
  freeze_point();
  enough = true;
  thread.join();
  // Each page holds what the last round that came by has left there.
  for (size_t at = 0; at < kSize; at += kPage) {
    unsigned wanted = static_cast<unsigned>(at / kPage + 1);
    for (unsigned round = rounds, back = 0; round-- > 0 && back < 5; ++back) {
      if (at / kPage % 97 != round % 5) continue;
      wanted += round;
      break;
    }
    if (!holds(memory + at, wanted))
      fail(__FILE__, __LINE__, "page " + std::to_string(at / kPage) + " is not what it was");
  }
  munmap(memory, kSize);
}

}  // namespace
}  // namespace live
