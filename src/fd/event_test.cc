// eventfd, timerfd, signalfd and epoll.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "fd/kinds.h"
#include "fd/round_trip.h"

namespace stint::fd {
namespace {

uint64_t read_count(int fd) {
  uint64_t count = 0;
  return ::read(fd, &count, sizeof(count)) == sizeof(count) ? count : ~uint64_t{0};
}

TEST(Eventfd, KeepsItsCountAndThatItIsASemaphore) {
  EXPECT_EQ(round_trip(
                [] {
                  uint64_t large = 1ull << 40;
                  return ::eventfd(0, EFD_NONBLOCK) == 0 && ::write(0, &large, 8) == 8 &&
                         ::eventfd(2, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK) == 1;
                },
                []() -> std::string {
                  HOLDS(::fcntl(0, F_GETFD) == 0 && ::fcntl(1, F_GETFD) == FD_CLOEXEC);
                  HOLDS(read_count(0) == 1ull << 40 && read_count(0) == ~uint64_t{0});
                  HOLDS(read_count(1) == 1 && read_count(1) == 1 && read_count(1) == ~uint64_t{0});
                  return "";
                }),
            "");
}

TEST(Timerfd, KeepsTheTimeThatIsLeftAndTheTicksThatWereNotRead) {
  EXPECT_EQ(round_trip(
                [] {
                  itimerspec far{.it_interval = {7, 0}, .it_value = {1000, 0}};
                  itimerspec often{.it_interval = {0, 1000000}, .it_value = {0, 1000000}};
                  timespec pause{0, 20000000};
                  return ::timerfd_create(CLOCK_MONOTONIC, 0) == 0 && ::timerfd_settime(0, 0, &far, nullptr) == 0 &&
                         ::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK) == 1 &&
                         ::timerfd_settime(1, 0, &often, nullptr) == 0 && ::nanosleep(&pause, nullptr) == 0;
                },
                []() -> std::string {
                  itimerspec left;
                  HOLDS(::timerfd_gettime(0, &left) == 0 && left.it_interval.tv_sec == 7);
                  HOLDS(left.it_value.tv_sec > 900 && left.it_value.tv_sec < 1000);
                  HOLDS(::timerfd_gettime(1, &left) == 0 && left.it_interval.tv_nsec == 1000000);
                  uint64_t ticks = read_count(1);
                  HOLDS(ticks >= 20 && ticks != ~uint64_t{0});
                  return "";
                }),
            "");
}

TEST(Timerfd, KeepsAnAbsoluteDeadlineAndADisarmedTimer) {
  timespec now;
  ASSERT_EQ(::clock_gettime(CLOCK_REALTIME, &now), 0);
  itimerspec at{.it_interval = {0, 0}, .it_value = {now.tv_sec + 5000, 0}};
  EXPECT_EQ(round_trip(
                [&] {
                  return ::timerfd_create(CLOCK_REALTIME, 0) == 0 &&
                         ::timerfd_settime(0, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, nullptr) == 0 &&
                         ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK) == 1;
                },
                [&]() -> std::string {
                  itimerspec left;
                  timespec later;
                  HOLDS(::timerfd_gettime(0, &left) == 0 && ::clock_gettime(CLOCK_REALTIME, &later) == 0);
                  int64_t deadline =
                      (later.tv_sec + left.it_value.tv_sec) * 1000000000 + later.tv_nsec + left.it_value.tv_nsec;
                  // Two clock reads apart, at capture and here.
                  HOLDS(std::abs(deadline - at.it_value.tv_sec * 1000000000) < 1000000000);
                  HOLDS(::timerfd_gettime(1, &left) == 0 && left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0);
                  HOLDS(read_count(1) == ~uint64_t{0});
                  return "";
                }),
            "");
}

// Just when it is due, the kernel shows no time left and no tick yet; and it may tick between two looks.
TEST(Timerfd, ThatIsAboutToTickHasTimeLeftOrHasTicked) {
  for (int attempt = 0; attempt < 3000; ++attempt) {
    image::MemoryStream stream;
    HeldFiles files;
    CaptureContext context{.sink = stream, .files = files, .shared_memory = files};
    Facts facts;
    facts.ours = sys::UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
    itimerspec soon{.it_interval = {0, 0}, .it_value = {0, 5'000 + attempt % 64 * 1'000}};
    ASSERT_EQ(::timerfd_settime(facts.ours.get(), 0, &soon, nullptr), 0);
    facts.info.timerfd = proc::TimerFdInfo{.clockid = CLOCK_MONOTONIC};
    ASSERT_TRUE(kTimerfd.capture(facts, {}, context).has_value());
    image::TimerfdRecord record = *image::decode<image::TimerfdRecord>(stream.records().front().payload);
    ASSERT_NE(record.value_ns > 0, record.ticks > 0) << record.value_ns << " ns left, " << record.ticks << " ticks";
  }
}

TEST(Signalfd, KeepsItsMask) {
  EXPECT_EQ(
      round_trip(
          [] {
            uint64_t mask = 1u << (SIGUSR1 - 1);
            return ::syscall(SYS_signalfd4, -1, &mask, sizeof(mask), O_NONBLOCK) == 0;
          },
          []() -> std::string {
            sigset_t both;
            ::sigemptyset(&both), ::sigaddset(&both, SIGUSR1), ::sigaddset(&both, SIGUSR2);
            HOLDS(::sigprocmask(SIG_BLOCK, &both, nullptr) == 0 && ::raise(SIGUSR2) == 0 && ::raise(SIGUSR1) == 0);
            signalfd_siginfo got;
            HOLDS(::read(0, &got, sizeof(got)) == sizeof(got) && got.ssi_signo == SIGUSR1);
            HOLDS(::read(0, &got, sizeof(got)) == -1);
            return "";
          }),
      "");
}

bool watch(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event{.events = events, .data = {.u64 = data}};
  return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

uint64_t ready_data(int epoll) {
  epoll_event event{};
  return ::epoll_wait(epoll, &event, 1, 0) == 1 ? event.data.u64 : 0;
}

TEST(Epoll, KeepsItsWatches) {
  EXPECT_EQ(round_trip([] { return ::epoll_create1(0) == 0 && ::eventfd(0, 0) == 1 && watch(0, 1, EPOLLIN, 77); },
                       []() -> std::string {
                         HOLDS(ready_data(0) == 0);
                         uint64_t one = 1;
                         HOLDS(::write(1, &one, 8) == 8 && ready_data(0) == 77);
                         epoll_event event{};
                         HOLDS(::epoll_ctl(0, EPOLL_CTL_DEL, 1, &event) == 0);
                         return "";
                       }),
            "");
}

TEST(Epoll, KeepsAWatchWhoseNumberWasClosedOrMeansSomethingElse) {
  EXPECT_EQ(round_trip(
                [] {
                  // 1 and 2 are watched; they live on as 3 and 4; 1 is now another eventfd and 2 is closed.
                  return ::epoll_create1(0) == 0 && ::eventfd(0, 0) == 1 && ::eventfd(0, 0) == 2 &&
                         watch(0, 1, EPOLLIN, 11) && watch(0, 2, EPOLLIN, 22) && ::dup(1) == 3 && ::dup(2) == 4 &&
                         ::close(1) == 0 && ::eventfd(5, EFD_CLOEXEC) == 1 && ::close(2) == 0;
                },
                []() -> std::string {
                  HOLDS(ready_data(0) == 0);
                  HOLDS(read_count(1) == 5 && ::fcntl(1, F_GETFD) == FD_CLOEXEC && ::fcntl(2, F_GETFD) == -1);
                  uint64_t one = 1;
                  HOLDS(::write(3, &one, 8) == 8 && ready_data(0) == 11 && read_count(3) == 1);
                  HOLDS(::write(4, &one, 8) == 8 && ready_data(0) == 22);
                  return "";
                }),
            "");
}

}  // namespace
}  // namespace stint::fd
