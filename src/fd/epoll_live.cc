// An epoll instance: which descriptors it watches, for what, in which way, with which data. What it had already told
// about an edge-triggered or one-shot descriptor cannot be read back; an edge told once more is allowed, one that is
// lost is not.
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

Fd make_epoll(int flags = 0) { return Fd(EXPECT_OK(epoll_create1(flags))); }

void watch(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event = {.events = events, .data = {.u64 = data}};
  EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

// The one event that is there, or data 0 when there is none in time.
epoll_event one_event(int epoll, int milliseconds) {
  epoll_event events[4] = {};
  const int count = EXPECT_OK(epoll_wait(epoll, events, 4, milliseconds));
  EXPECT_LE(count, 1);
  return events[0];
}

LIVE_TEST(epoll_keeps_its_watches_and_their_data) {
  const Fd epoll = make_epoll(EPOLL_CLOEXEC);
  const Ends first = make_pipe();
  const Ends second = make_pipe();
  watch(epoll, first.read, EPOLLIN, 0xfedcba9876543210UL);
  watch(epoll, second.write, EPOLLOUT, 0x22);
  freeze_point();
  EXPECT_EQ(one_event(epoll, 10'000).data.u64, 0x22UL);
  EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_DEL, second.write, nullptr));
  EXPECT_EQ(one_event(epoll, 0).data.u64, 0UL);
  write_all(first.write, "x");
  const epoll_event event = one_event(epoll, 10'000);
  EXPECT_EQ(event.data.u64, 0xfedcba9876543210UL);
  EXPECT_EQ(event.events, static_cast<uint32_t>(EPOLLIN));
  EXPECT_EQ(fcntl(epoll, F_GETFD), FD_CLOEXEC);
}

LIVE_TEST(epoll_still_tells_a_readiness_from_before) {
  const Fd epoll = make_epoll();
  const Ends pipe = make_pipe();
  watch(epoll, pipe.read, EPOLLIN | EPOLLET, 5);
  write_all(pipe.write, "before");
  freeze_point();
  EXPECT_EQ(one_event(epoll, 10'000).data.u64, 5UL);
}

LIVE_TEST(edge_triggered_watch_tells_each_edge_once) {
  const Fd epoll = make_epoll();
  const Fd event(EXPECT_OK(eventfd(0, 0)));
  watch(epoll, event, EPOLLIN | EPOLLET, 6);
  freeze_point();
  EXPECT_OK(eventfd_write(event, 1));
  EXPECT_EQ(one_event(epoll, 10'000).data.u64, 6UL);
  EXPECT_EQ(one_event(epoll, 0).data.u64, 0UL);
  EXPECT_OK(eventfd_write(event, 1));
  EXPECT_EQ(one_event(epoll, 10'000).data.u64, 6UL);
}

LIVE_TEST(one_shot_watch_is_told_once_and_can_be_armed_again) {
  const Fd epoll = make_epoll();
  const Fd event(EXPECT_OK(eventfd(1, 0)));
  watch(epoll, event, EPOLLIN | EPOLLONESHOT, 7);
  freeze_point();
  EXPECT_EQ(one_event(epoll, 10'000).data.u64, 7UL);
  EXPECT_EQ(one_event(epoll, 0).data.u64, 0UL);
  freeze_point();
  // A shot that is spent stays spent.
  EXPECT_EQ(one_event(epoll, 0).data.u64, 0UL);
  epoll_event again = {.events = EPOLLIN | EPOLLONESHOT, .data = {.u64 = 8}};
  EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_MOD, event, &again));
  EXPECT_EQ(one_event(epoll, 10'000).data.u64, 8UL);
}

LIVE_TEST(epoll_within_epoll_still_passes_events_up) {
  const Fd outer = make_epoll();
  const Fd inner = make_epoll();
  const Ends pipe = make_pipe();
  watch(inner, pipe.read, EPOLLIN, 1);
  watch(outer, inner, EPOLLIN, 2);
  freeze_point();
  EXPECT_EQ(one_event(outer, 0).data.u64, 0UL);
  write_all(pipe.write, "x");
  EXPECT_EQ(one_event(outer, 10'000).data.u64, 2UL);
  EXPECT_EQ(one_event(inner, 10'000).data.u64, 1UL);
}

LIVE_TEST(two_descriptors_of_one_pipe_are_watched_apart) {
  const Fd epoll = make_epoll();
  const Ends pipe = make_pipe();
  const Fd duplicate(EXPECT_OK(dup(pipe.read)));
  watch(epoll, pipe.read, EPOLLIN, 10);
  watch(epoll, duplicate, EPOLLIN, 11);
  freeze_point();
  write_all(pipe.write, "x");
  epoll_event events[4];
  EXPECT_EQ(epoll_wait(epoll, events, 4, 10'000), 2);
  EXPECT_EQ(events[0].data.u64 + events[1].data.u64, 21UL);
  EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_DEL, duplicate, nullptr));
  EXPECT_EQ(one_event(epoll, 10'000).data.u64, 10UL);
}

LIVE_TEST(epoll_shared_by_two_descriptors_stays_shared) {
  const Fd epoll = make_epoll();
  const Fd duplicate(EXPECT_OK(dup(epoll)));
  const Fd event(EXPECT_OK(eventfd(1, 0)));
  freeze_point();
  watch(epoll, event, EPOLLIN, 12);
  EXPECT_EQ(one_event(duplicate, 10'000).data.u64, 12UL);
}

}  // namespace
}  // namespace live
