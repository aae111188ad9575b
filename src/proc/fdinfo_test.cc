#include "proc/fdinfo.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/procfs.h"

namespace stint::proc {
namespace {

FdInfo fdinfo(std::string_view text) {
  Result<FdInfo> parsed = parse_fdinfo(text);
  EXPECT_TRUE(parsed.has_value()) << text;
  return parsed.has_value() ? *parsed : FdInfo{};
}

FdInfo own(const sys::UniqueFd& fd) {
  EXPECT_TRUE(fd.valid());
  Result<std::string> text = sys::read_proc(Pid{0}, fmt::format("fdinfo/{}", fd.get()));
  EXPECT_TRUE(text.has_value());
  return fdinfo(*text);
}

TEST(Fdinfo, ReadsWhatEveryKindHas) {
  FdInfo info = fdinfo("pos:\t17\nflags:\t02102001\nmnt_id:\t24\nino:\t3\n");
  EXPECT_EQ(info.pos, 17u);
  EXPECT_EQ(info.flags, 02102001u);
  EXPECT_TRUE(info.close_on_exec());
  EXPECT_EQ(info.mnt_id, 24u);
  EXPECT_EQ(info.ino, 3u);
  EXPECT_EQ(fdinfo("pos:\t0\nflags:\t00\nmnt_id:\t2\n").ino, std::nullopt);
}

TEST(Fdinfo, RefusesNumbersThatAreNone) {
  EXPECT_FALSE(parse_fdinfo("pos:\towl\n").has_value());
  EXPECT_FALSE(parse_fdinfo("flags:\t9\n").has_value());
  EXPECT_FALSE(parse_fdinfo("tfd: x\n").has_value());
  EXPECT_FALSE(parse_fdinfo("inotify wd:x\n").has_value());
  EXPECT_FALSE(parse_fdinfo("lock:\t1: OWL  ADVISORY  READ 1 00:01:2 0 EOF\n").has_value());
  EXPECT_FALSE(parse_fdinfo("it_value: (1\n").has_value());
}

TEST(Fdinfo, KeepsLinesOfUnknownKinds) {
  EXPECT_THAT(fdinfo("pos:\t0\nflags:\t02\nmnt_id:\t1\ndrm-driver:\ti915\n").other,
              testing::ElementsAre("drm-driver:\ti915"));
}

TEST(Fdinfo, ReadsLocks) {
  FdInfo info = fdinfo(
      "lock:\t1: POSIX  ADVISORY  WRITE 359 00:1a:11691 0 EOF\nlock:\t2: FLOCK  ADVISORY  READ  7 fe:00:5 0 EOF\n"
      "lock:\t3: OFDLCK ADVISORY  READ  -1 fe:00:5 128 255\n");
  ASSERT_EQ(info.locks.size(), 3u);
  EXPECT_EQ(info.locks[0].kind, LockInfo::Kind::kPosix);
  EXPECT_TRUE(info.locks[0].write);
  EXPECT_EQ(info.locks[0].minor, 0x1au);
  EXPECT_EQ(info.locks[0].inode, 11691u);
  EXPECT_EQ(info.locks[0].end, std::nullopt);
  EXPECT_EQ(info.locks[1].kind, LockInfo::Kind::kFlock);
  EXPECT_FALSE(info.locks[1].write);
  EXPECT_EQ(info.locks[2].kind, LockInfo::Kind::kOfd);
  EXPECT_EQ(info.locks[2].pid, -1);
  EXPECT_EQ(info.locks[2].start, 128u);
  EXPECT_EQ(info.locks[2].end, 255u);
}

TEST(Fdinfo, ReadsAnIoUring) {
  FdInfo info = fdinfo(
      "pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t1\nSqMask:\t0x7\nSqHead:\t3\nSqTail:\t4\nCachedSqHead:\t3\n"
      "CqMask:\t0xf\nCqHead:\t1\nCqTail:\t2\nCachedCqTail:\t2\nSQEs:\t1\nCQEs:\t1\nSqThread:\t-1\nSqThreadCpu:\t-1\n"
      "UserFiles:\t2\n    0: /tmp/a\nUserBufs:\t0\nPollList:\nCqOverflowList:\n");
  ASSERT_TRUE(info.io_uring.has_value());
  EXPECT_EQ(info.io_uring->sq_mask, 7u);
  EXPECT_EQ(info.io_uring->sq_tail, 4u);
  EXPECT_EQ(info.io_uring->cq_mask, 15u);
  EXPECT_EQ(info.io_uring->sq_thread, -1);
  EXPECT_EQ(info.io_uring->user_files, 2u);
  EXPECT_THAT(info.io_uring->lines, testing::Contains("    0: /tmp/a"));
}

TEST(Fdinfo, ShowsPositionAndLockOfAFile) {
  sys::UniqueFd fd(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_EQ(write(fd.get(), "12345", 5), 5);
  ASSERT_EQ(flock(fd.get(), LOCK_EX), 0);
  FdInfo info = own(fd);
  struct stat status;
  ASSERT_EQ(fstat(fd.get(), &status), 0);
  EXPECT_EQ(info.pos, 5u);
  EXPECT_TRUE(info.close_on_exec());
  ASSERT_EQ(info.locks.size(), 1u);
  EXPECT_EQ(info.locks[0].kind, LockInfo::Kind::kFlock);
  EXPECT_TRUE(info.locks[0].write);
  EXPECT_EQ(info.locks[0].inode, status.st_ino);
}

TEST(Fdinfo, ShowsAnEventfd) {
  sys::UniqueFd fd(eventfd(0xabc, EFD_CLOEXEC | EFD_SEMAPHORE));
  FdInfo info = own(fd);
  ASSERT_TRUE(info.eventfd.has_value());
  EXPECT_EQ(info.eventfd->count, 0xabcu);
  EXPECT_TRUE(info.eventfd->semaphore.value_or(true));  // Kernels before 6.5 do not show it.
}

TEST(Fdinfo, ShowsATimerfd) {
  sys::UniqueFd fd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  itimerspec spec = {.it_interval = {3, 5}, .it_value = {1000, 0}};
  ASSERT_EQ(timerfd_settime(fd.get(), 0, &spec, nullptr), 0);
  FdInfo info = own(fd);
  ASSERT_TRUE(info.timerfd.has_value());
  EXPECT_EQ(info.timerfd->clockid, CLOCK_MONOTONIC);
  EXPECT_EQ(info.timerfd->ticks, 0u);
  EXPECT_EQ(info.timerfd->interval_ns, 3000000005);
  EXPECT_GT(info.timerfd->value_ns, 900'000000000);
  EXPECT_LE(info.timerfd->value_ns, 1000'000000000);
}

TEST(Fdinfo, ShowsASignalfd) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sys::UniqueFd fd(signalfd(-1, &set, SFD_CLOEXEC));
  EXPECT_EQ(own(fd).signalfd_mask, uint64_t{1} << (SIGUSR1 - 1));
}

TEST(Fdinfo, ShowsWhatAnEpollWatches) {
  sys::UniqueFd watched(eventfd(0, EFD_CLOEXEC));
  sys::UniqueFd fd(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.u64 = 0x123456789abcdef0}};
  ASSERT_EQ(epoll_ctl(fd.get(), EPOLL_CTL_ADD, watched.get(), &event), 0);
  FdInfo info = own(fd);
  struct stat status;
  ASSERT_EQ(fstat(watched.get(), &status), 0);
  ASSERT_EQ(info.epoll.size(), 1u);
  EXPECT_EQ(info.epoll[0].tfd, watched.get());
  EXPECT_EQ(info.epoll[0].events & (EPOLLIN | EPOLLET), static_cast<uint32_t>(EPOLLIN | EPOLLET));
  EXPECT_EQ(info.epoll[0].data, 0x123456789abcdef0u);
  EXPECT_EQ(info.epoll[0].ino, status.st_ino);
}

TEST(Fdinfo, ShowsWhatAnInotifyWatches) {
  sys::UniqueFd fd(inotify_init1(IN_CLOEXEC));
  int wd = inotify_add_watch(fd.get(), "/tmp", IN_CREATE | IN_DELETE);
  ASSERT_GE(wd, 0);
  FdInfo info = own(fd);
  struct stat status;
  ASSERT_EQ(stat("/tmp", &status), 0);
  ASSERT_EQ(info.inotify.size(), 1u);
  EXPECT_EQ(info.inotify[0].wd, wd);
  EXPECT_EQ(info.inotify[0].ino, status.st_ino);
  EXPECT_EQ(info.inotify[0].mask & (IN_CREATE | IN_DELETE), static_cast<uint32_t>(IN_CREATE | IN_DELETE));
}

// The number of a watch is shown in hexadecimal, whatever the manual says.
TEST(Fdinfo, ReadsInotifyWatchesWithNumbersAboveNine) {
  sys::UniqueFd fd(inotify_init1(IN_CLOEXEC));
  int wd = 0;
  while (wd < 26) ASSERT_EQ(inotify_rm_watch(fd.get(), wd = inotify_add_watch(fd.get(), "/tmp", IN_CREATE)), 0);
  ASSERT_EQ(inotify_add_watch(fd.get(), "/tmp", IN_CREATE), 27);
  FdInfo info = own(fd);
  ASSERT_EQ(info.inotify.size(), 1u);
  EXPECT_EQ(info.inotify[0].wd, 27);
}

TEST(Fdinfo, ShowsWhomAPidfdNames) {
  sys::UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  FdInfo info = own(fd);
  ASSERT_TRUE(info.pidfd.has_value());
  EXPECT_EQ(info.pidfd->pid, getpid());
}

}  // namespace
}  // namespace stint::proc
