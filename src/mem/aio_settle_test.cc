#include "mem/aio_settle.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "mem/aio_noops.h"
#include "mem/aio_rebuild.h"
#include "mem/aio_ring.h"
#include "proc/cpu_list.h"
#include "sys/fault.h"
#include "sys/procfs.h"
#include "sys/scheduling.h"
#include "tracee/memory.h"

namespace stint::mem {
namespace {

// A child that has a context, in which it has done something; stopped, with our hands in it.
class AioTest : public testing::Test {
 protected:
  ~AioTest() override { end(); }

  void end() {
    if (child_ > 0) kill(child_, SIGKILL);
    hands_.reset();
    stopped_.reset();
    if (child_ > 0) waitpid(child_, nullptr, 0);
    child_ = -1;
  }

  // `act` is given the context's id.
  void start(unsigned requests, const std::function<void(aio_context_t)>& act) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      aio_context_t context = 0;
      if (syscall(SYS_io_setup, requests, &context) != 0) _exit(1);
      act(context);
      if (write(ready[1], &context, sizeof(context)) != sizeof(context)) _exit(1);
      for (;;) pause();
    }
    EXPECT_EQ(read(ready[0], &context_, sizeof(context_)), static_cast<ssize_t>(sizeof(context_)));
    close(ready[0]), close(ready[1]);
    stopped_.emplace(tracee::StoppedProcess::stop(Pid{child_}, std::chrono::seconds(5)).value());
    vmas_ = proc::parse_maps(sys::read_proc(Pid{child_}, "maps").value()).value();
    Result<tracee::Entrance> entrance = tracee::find_entrance(*stopped_, vmas_, nullptr);
    hands_.emplace(tracee::Hands::map_area(*stopped_, entrance.value()).value());
  }

  Result<std::vector<image::AioRingRecord>> settle() { return settle_aio(*stopped_, *hands_, child_, vmas_); }
  AioRingHeader header() const { return tracee::peek(Pid{child_}, RemotePtr<AioRingHeader>(context_)).value(); }
  int64_t call(const tracee::Call& call) { return hands_->run(stopped_->representative(), {&call, 1}).value().front(); }

  pid_t child_ = -1;
  aio_context_t context_ = 0;
  std::vector<proc::Vma> vmas_;
  std::optional<tracee::StoppedProcess> stopped_;
  std::optional<tracee::Hands> hands_;
};

// Events that say `data`.
void do_nothing(aio_context_t context, unsigned count, uint64_t data) {
  static iocb request;
  request = {};
  request.aio_lio_opcode = IOCB_CMD_PREAD;
  request.aio_fildes = static_cast<uint32_t>(eventfd(0, 0));
  for (unsigned i = 0; i < count; ++i) {
    request.aio_data = data + i;
    iocb* one = &request;
    if (syscall(SYS_io_submit, context, 1, &one) != 1) _exit(1);
  }
  close(static_cast<int>(request.aio_fildes));
}

void take(aio_context_t context, long count) {
  std::vector<io_event> events(static_cast<size_t>(count));
  if (syscall(SYS_io_getevents, context, count, count, events.data(), nullptr) != count) _exit(1);
}

std::vector<uint64_t> data_of(const AioRing& ring) {
  std::vector<uint64_t> data;
  for (const io_event& event : ring.waiting) data.push_back(event.data);
  return data;
}

using Numbers = std::vector<uint64_t>;

TEST_F(AioTest, WhatWaitsIsRecordedAndStaysWhereItIs) {
  start(8, [](aio_context_t context) {
    do_nothing(context, 5, 100);
    take(context, 3);
  });
  std::vector<image::AioRingRecord> records = settle().value();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_TRUE(records[0].has_context);
  EXPECT_EQ(records[0].start, context_);
  AioRing ring = read_aio_ring(records[0].content).value();
  EXPECT_EQ(ring.head, 3u);
  EXPECT_EQ(data_of(ring), (Numbers{103, 104}));
  EXPECT_EQ(header().head, 3u);
  EXPECT_EQ(header().tail, 5u);
  io_event first = tracee::peek(Pid{child_}, RemotePtr<io_event>(context_ + aio_event_offset(3))).value();
  EXPECT_EQ(first.data, 103u);
}

// The Nth call of ours fails: whatever becomes of the settling, the program finds its events.
TEST_F(AioTest, AFailingCallLeavesTheRingAsItWas) {
  long calls = 0;
  for (long failing = 0; failing <= calls; ++failing) {  // 0: none, to count them
    start(8, [](aio_context_t context) {
      do_nothing(context, 5, 100);
      take(context, 3);
    });
    {
      fault::Injection injection(failing, ENOMEM);
      (void)settle().has_value();
      calls = std::max(calls, injection.calls());
    }
    EXPECT_EQ(header().head, 3u) << "call " << failing << " of " << calls;
    EXPECT_EQ(header().tail, 5u) << "call " << failing << " of " << calls;
    for (uint32_t at : {3, 4}) {
      io_event event = tracee::peek(Pid{child_}, RemotePtr<io_event>(context_ + aio_event_offset(at))).value();
      EXPECT_EQ(event.data, 100 + at) << "call " << failing << " of " << calls;
    }
    end();
  }
  EXPECT_GT(calls, 20);
}

// Our events are taken out by the table that has put them in.
TEST_F(AioTest, WhoeverIsKilledInTheMiddleLeavesNoEventInTheRing) {
  start(8, [](aio_context_t context) {
    do_nothing(context, 3, 1);
    take(context, 3);
  });
  hands_.reset();
  stopped_.reset();
  for (int round = 0; round < 10; ++round) {
    pid_t tracer = fork();
    if (tracer == 0) {
      stopped_.emplace(tracee::StoppedProcess::stop(Pid{child_}, std::chrono::seconds(5)).value());
      hands_.emplace(
          tracee::Hands::map_area(*stopped_, tracee::find_entrance(*stopped_, vmas_, nullptr).value()).value());
      while (settle().has_value()) continue;
      _exit(1);
    }
    usleep(static_cast<unsigned>(100'000 + 1'700 * round));
    kill(tracer, SIGKILL);
    int status = 0;
    waitpid(tracer, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    // It goes on to the end of the table by itself.
    for (int wait = 0; wait < 5000 && header().head != header().tail; ++wait) usleep(1000);
    ASSERT_EQ(header().head, header().tail) << "round " << round;
  }
}

class AioUnderWay : public AioTest, public testing::WithParamInterface<std::pair<unsigned, unsigned>> {};

// Some events wait, and some requests are polls for what does not come.
TEST_P(AioUnderWay, RequestsAreNoticedAndLeftAlone) {
  auto [waiting, polls] = GetParam();
  start(8, [&](aio_context_t context) {
    do_nothing(context, 33, 1);
    take(context, 33);
    do_nothing(context, waiting, 500);
    static iocb poll;
    poll.aio_lio_opcode = IOCB_CMD_POLL;
    poll.aio_fildes = static_cast<uint32_t>(eventfd(0, 0));
    poll.aio_buf = POLLIN;
    iocb* one = &poll;
    for (unsigned i = 0; i < polls; ++i)
      if (syscall(SYS_io_submit, context, 1, &one) != 1) _exit(1);
  });
  Result<std::vector<image::AioRingRecord>> settled = settle();
  ASSERT_FALSE(settled.has_value());
  EXPECT_EQ(settled.error().kind(), ErrorKind::kNotNow) << settled.error().text();
  EXPECT_EQ(header().head, 33u);
  EXPECT_EQ(header().tail, 33u + waiting);
  for (uint32_t i = 0; i < waiting; ++i) {
    io_event event = tracee::peek(Pid{child_}, RemotePtr<io_event>(context_ + aio_event_offset(33 + i))).value();
    EXPECT_EQ(event.data, 500 + i);
  }
  // Nor has the context more requests to give than before.
  AioNoops noops = AioNoops::prepare(*stopped_, *hands_, {context_}, sys::get_affinity(Pid{child_}).value()).value();
  std::vector<uint32_t> cpus =
      proc::parse_cpu_list(sys::read_whole("/sys/devices/system/cpu/possible", 1 << 16).value()).value();
  for (uint32_t cpu : cpus) noops.go_to(cpu), noops.submit(1000);
  ASSERT_TRUE(noops.run().has_value());
  EXPECT_EQ(noops.submitted() + waiting + polls, aio_most_requests(header().nr, cpus.size()));
}

INSTANTIATE_TEST_SUITE_P(Aio, AioUnderWay,
                         testing::Values(std::pair(0, 1), std::pair(2, 1), std::pair(60, 1), std::pair(40, 40),
                                         std::pair(1, 80), std::pair(80, 1)));

TEST_F(AioTest, AFullContextNeedsNoProbe) {
  start(8, [](aio_context_t context) {
    static iocb request;
    request.aio_lio_opcode = IOCB_CMD_PREAD;
    request.aio_fildes = static_cast<uint32_t>(eventfd(0, 0));
    for (iocb* one = &request; syscall(SYS_io_submit, context, 1, &one) == 1;) continue;
  });
  uint32_t tail = header().tail;
  EXPECT_GE(tail, 8u);
  EXPECT_TRUE(settle().has_value());
  EXPECT_EQ(header().head, 0u);
  EXPECT_EQ(header().tail, tail);
}

TEST_F(AioTest, AContextIsMadeAgainInItsPlace) {
  start(300, [](aio_context_t context) {
    for (int i = 0; i < 20; ++i) do_nothing(context, 50, 1), take(context, 50);
    do_nothing(context, 9, 1);
  });
  image::AioRingRecord record = settle().value().front();
  AioRing before = read_aio_ring(record.content).value();
  EXPECT_EQ(call({SYS_io_destroy, {context_}}), 0);
  constexpr uint64_t kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  uint64_t size = record.content.size();
  EXPECT_EQ(call({SYS_mmap, {context_, size, PROT_READ | PROT_WRITE, kFlags, ~uint64_t{0}, 0}}),
            static_cast<int64_t>(context_));
  Result<> rebuilt = rebuild_aio_ring(*stopped_, *hands_, record);
  ASSERT_TRUE(rebuilt.has_value()) << rebuilt.error().text();
  EXPECT_EQ(header().head, before.head);
  EXPECT_EQ(header().tail, before.tail);
  EXPECT_EQ(data_of(read_aio_ring(settle().value().front().content).value()), (Numbers{1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(call({SYS_io_getevents, {context_, 9, 9, hands_->scratch(), 0}}), 9);
  EXPECT_EQ(tracee::peek(Pid{child_}, RemotePtr<io_event>(hands_->scratch())).value().data, 1u);
}

TEST_F(AioTest, ADamagedRingIsRefused) {
  start(8, [](aio_context_t) {});
  image::AioRingRecord record = settle().value().front();
  record.content[16] = std::byte{0};
  Result<> rebuilt = rebuild_aio_ring(*stopped_, *hands_, record);
  ASSERT_FALSE(rebuilt.has_value());
  EXPECT_EQ(rebuilt.error().kind(), ErrorKind::kDamaged);
}

}  // namespace
}  // namespace stint::mem
