#include "mem/dirty.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>

#include "sys/procfs.h"

namespace stint::mem {
namespace {

constexpr size_t kPages = 8;

// Eight private pages, at the same place in us and in a child, which does what it is asked to.
class Target {
 public:
  Target() {
    memory_ = static_cast<char*>(
        mmap(nullptr, 2 * kPages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(memory_ != MAP_FAILED);
    (void)madvise(memory_, 2 * kPages * kPageSize, MADV_NOHUGEPAGE);
    // Apart from their neighbours.
    (void)mprotect(memory_ + kPages * kPageSize, kPages * kPageSize, PROT_NONE);
    CHECK(pipe(to_child_) == 0 && pipe(from_child_) == 0);
  }
  ~Target() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    for (int fd : {to_child_[0], to_child_[1], from_child_[0], from_child_[1]}) close(fd);
    munmap(memory_, 2 * kPages * kPageSize);
  }
  // The child makes these, one after another, as it is told to go on.
  void run(std::vector<std::function<void()>> steps) {
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      char byte = 0;
      for (const std::function<void()>& step : steps) {
        step();
        if (write(from_child_[1], "x", 1) != 1 || read(to_child_[0], &byte, 1) != 1) _exit(1);
      }
      for (;;) pause();
    }
    wait();
  }
  void go_on() {
    CHECK(write(to_child_[1], "x", 1) == 1);
    wait();
  }

  Pid pid() const { return Pid{child_}; }
  char* page(size_t number) const { return memory_ + number * kPageSize; }
  void write_to(std::initializer_list<size_t> pages) const {
    for (size_t number : pages) *const_cast<volatile char*>(page(number)) = 1;
  }
  Range range() const {
    uint64_t start = reinterpret_cast<uint64_t>(memory_);
    return {start, start + kPages * kPageSize};
  }

  // In a stop.
  Result<Follower> follow() {
    tracee::StoppedProcess stopped = TRY(tracee::StoppedProcess::stop(pid(), std::chrono::seconds(5)));
    std::vector<proc::Vma> vmas = TRY(proc::parse_maps(TRY(sys::read_proc(pid(), "maps"))));
    tracee::Hands hands = TRY(tracee::Hands::map_area(stopped, TRY(tracee::find_entrance(stopped, vmas, nullptr))));
    return Follower::start(stopped, hands, vmas);
  }
  // One letter a page: w for one of `written`.
  std::string shown(const std::vector<Range>& written) const {
    std::string text(kPages, '.');
    for (size_t i = 0; i < kPages; ++i)
      for (const Range& range : written)
        if (range.contains(this->range().start + i * kPageSize)) text[i] = 'w';
    return text;
  }
  // One letter a page: u for own and unwritten, o for other own ones.
  std::string seen() const {
    std::string text(kPages, '.');
    std::vector<sys::PageRun> runs = *sys::Pagemap::open(pid())->own_pages(range());
    for (size_t i = 0; i < kPages; ++i)
      for (const sys::PageRun& run : runs)
        if (run.range.contains(range().start + i * kPageSize)) text[i] = run.unwritten ? 'u' : 'o';
    return text;
  }

 private:
  void wait() {
    char byte = 0;
    CHECK(read(from_child_[0], &byte, 1) == 1);
  }

  char* memory_ = nullptr;
  int to_child_[2], from_child_[2];
  pid_t child_ = -1;
};

class FollowerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_follow()) GTEST_SKIP() << "this kernel cannot follow writes (Linux 6.7 and later can)";
  }
  Target target_;
};

TEST_F(FollowerTest, TellsWhatWasWrittenSinceItWasTaken) {
  target_.run({[&] { target_.write_to({1, 2, 5}); }, [&] { target_.write_to({2, 7}); }});
  Follower follower = *target_.follow();
  EXPECT_EQ(target_.shown(*follower.take_written()), ".ww..w..");
  EXPECT_EQ(target_.seen(), ".uu..u..");
  target_.go_on();
  EXPECT_EQ(target_.seen(), ".uo..u.o");
  EXPECT_GE(*follower.bytes_written(), 2 * kPageSize);
  EXPECT_EQ(target_.shown(*follower.take_written()), "..w....w");
  EXPECT_EQ(target_.seen(), ".uu..u.u");
}

TEST_F(FollowerTest, LeavesNothingInTheProcess) {
  target_.run({[&] { target_.write_to({3}); }});
  std::string maps = *sys::read_proc(target_.pid(), "maps");
  auto descriptors = [&] {
    namespace fs = std::filesystem;
    std::string path = sys::proc_path(target_.pid(), "fd");
    return std::distance(fs::directory_iterator(path), fs::directory_iterator());
  };
  auto open = descriptors();
  {
    Follower follower = *target_.follow();
    (void)follower.take_written();
    EXPECT_EQ(descriptors(), open);
    EXPECT_NE(sys::read_smaps(target_.pid())->find(" uw"), std::string::npos);
    follower.unprotect();
  }
  EXPECT_EQ(sys::read_smaps(target_.pid())->find(" uw"), std::string::npos);
  EXPECT_EQ(*sys::read_proc(target_.pid(), "maps"), maps);
  EXPECT_EQ(target_.seen(), "...o....");
}

TEST_F(FollowerTest, WhatIsGivenBackOrMappedAnewIsNotUnwritten) {
  target_.run({[&] { target_.write_to({0, 1, 2, 3, 4, 5}); },
               [&] {
                 madvise(target_.page(0), kPageSize, MADV_DONTNEED);
                 madvise(target_.page(1), kPageSize, MADV_DONTNEED);
                 target_.write_to({1});
                 munmap(target_.page(2), kPageSize);
                 mmap(target_.page(2), kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                      0);
                 target_.write_to({2});
                 mprotect(target_.page(5), kPageSize, PROT_NONE);
               }});
  Follower follower = *target_.follow();
  EXPECT_EQ(target_.shown(*follower.take_written()), "wwwwww..");
  target_.go_on();
  EXPECT_EQ(target_.seen(), ".oouuu..");
}

TEST_F(FollowerTest, WhatWasMovedIsNotUnwritten) {
  target_.run({[&] { target_.write_to({0, 1, 2, 3, 4, 5}); },
               [&] { mremap(target_.page(0), kPageSize, kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED, target_.page(4)); }});
  Follower follower = *target_.follow();
  (void)follower.take_written();
  target_.go_on();
  EXPECT_EQ(target_.seen(), ".uuuou..");
}

TEST_F(FollowerTest, WhatTheKernelWritesIsWritten) {
  target_.run({[&] { target_.write_to({0, 1, 2}); },
               [&] {
                 int zero = open("/dev/zero", O_RDONLY);
                 if (read(zero, target_.page(1), 10) != 10) _exit(1);
               }});
  Follower follower = *target_.follow();
  (void)follower.take_written();
  target_.go_on();
  EXPECT_EQ(target_.seen(), "uou.....");
}

TEST_F(FollowerTest, APageThatIsWrittenWhileAChildSharesItIsWritten) {
  target_.run({[&] { target_.write_to({0, 1, 2}); },
               [&] {
                 if (fork() == 0) _exit(0);
                 target_.write_to({1});
                 ::wait(nullptr);
               }});
  Follower follower = *target_.follow();
  (void)follower.take_written();
  target_.go_on();
  EXPECT_EQ(target_.seen(), "uou.....");
}

}  // namespace
}  // namespace stint::mem
