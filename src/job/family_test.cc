#include "job/family.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>

#include "job/report.h"
#include "job/state.h"
#include "sys/file.h"
#include "sys/process.h"
#include "sys/signal.h"

namespace stint::job {
namespace {

// A family of one test: the mask is put back, and whatever is left of it is ended.
class FamilyTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/stint-family-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    plan.directory = path;
    plan.user_namespace = sys::effective_user() != 0 || !sys::has_capability(CAP_SYS_ADMIN);
    mask_ = *sys::block_signals();
  }
  void TearDown() override {
    EXPECT_TRUE(sys::set_signal_mask(mask_));
    EXPECT_TRUE(sys::remove_tree(plan.directory));
  }

  // Starts it and waits for the root's end: its exit status.
  int run() {
    Result<Family> started = start_family(plan);
    if (!started) {
      ADD_FAILURE() << started.error().text();
      return -1;
    }
    family = *std::move(started);
    return end_of(family);
  }
  static int end_of(Family& family) {
    for (;;) {
      Result<ReportTaken> taken = take_report(family.socket.get(), true);
      if (!taken || taken->ended) return -1;
      if (taken->report->kind == ReportKind::kExited) return taken->report->value;
      if (taken->report->kind == ReportKind::kKilled) return 128 + taken->report->value;
    }
  }

  FamilyPlan plan;
  Family family;

 private:
  sigset_t mask_;
};

TEST_F(FamilyTest, a_contained_root_is_process_3_and_its_parent_2) {
  plan.root_main = [](int) { return getpid() * 10 + getppid(); };
  EXPECT_EQ(run(), 32);
  EXPECT_EQ(family.job_root.number, 3);
  EXPECT_EQ(family.job_stand_in.number, 2);
  EXPECT_GT(family.init.number, 0);
  EXPECT_NE(family.root.number, 3);
}

TEST_F(FamilyTest, a_contained_family_gets_the_numbers_that_it_asks_for) {
  plan.stand_in = {.pid = 700, .pgid = 700, .sid = 700};
  plan.root_pid = 4242;
  plan.root_main = [](int) { return getpid() == 4242 && getppid() == 700 && getsid(0) == 700 && getpgid(0) == 4242; };
  EXPECT_EQ(run(), 1);
}

TEST_F(FamilyTest, a_contained_family_may_have_pseudoterminals_of_its_own) {
  auto number_of_new = [] {
    int number = -1, master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    return ioctl(master, TIOCGPTN, &number) == 0 ? number : -1;  // It stays open: the next one is another.
  };
  int first = number_of_new(), second = number_of_new();
  ASSERT_NE(first, second);
  plan.own_pts = true;
  plan.root_main = [&](int) { return number_of_new(); };
  EXPECT_EQ(run(), 0);
  plan.terminal = true;
  EXPECT_EQ(run(), 1);  // Its own terminal is the first.
  int ours = -1;
  EXPECT_EQ(ioctl(family.master.get(), TIOCGPTN, &ours), 0);
  EXPECT_EQ(ours, 0);
}

TEST_F(FamilyTest, a_session_that_another_led_gets_its_leader_too) {
  plan.stand_in = {.pid = 700, .pgid = 700, .sid = 600};
  plan.root_main = [](int) { return getppid() == 700 && getsid(0) == 600 && getpgid(getppid()) == 700; };
  EXPECT_EQ(run(), 1);
}

TEST_F(FamilyTest, a_root_that_was_an_orphan_is_the_child_of_init) {
  plan.stand_in = {.pid = 1, .pgid = 1, .sid = 1};
  plan.root_pid = 4242;
  plan.root_main = [](int) { return getpid() == 4242 && getppid() == 1 && getsid(0) == 1; };
  EXPECT_EQ(run(), 1);
}

TEST_F(FamilyTest, a_root_may_be_in_a_session_that_nobody_leads_and_no_process_of_its_parents) {
  plan.stand_in = {.pid = 700, .pgid = 700, .sid = 700};
  plan.root_pid = 4242, plan.root_session = 600;
  plan.root_main = [](int) { return getppid() == 700 && getsid(0) == 600 && getpgid(0) == 4242 && kill(600, 0) < 0; };
  EXPECT_EQ(run(), 1);
}

TEST_F(FamilyTest, the_session_may_be_of_a_namespace_above) {
  plan.stand_in = {.pid = 700, .pgid = 0, .sid = 0};
  plan.root_group = -1;
  plan.outside_session = true;
  plan.root_main = [](int) { return getppid() == 700 && getsid(0) == 0 && getpgrp() == 0; };
  EXPECT_EQ(run(), 1);
}

TEST_F(FamilyTest, a_root_may_stay_in_its_parents_group) {
  plan.stand_in = {.pid = 700, .pgid = 700, .sid = 700};
  plan.root_group = 700;
  plan.root_main = [](int) { return getpgid(0) == 700; };
  EXPECT_EQ(run(), 1);
}

TEST_F(FamilyTest, the_clocks_are_moved_by_what_is_asked_and_no_more) {
  timespec before = {};
  clock_gettime(CLOCK_MONOTONIC, &before);
  plan.monotonic_offset_ns = 5'000'000'000'000;
  plan.boottime_offset_ns = -1'500'000'000;
  plan.root_main = [&](int) {
    timespec now = {};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec - before.tv_sec >= 5000 && now.tv_sec - before.tv_sec < 5060;
  };
  EXPECT_EQ(run(), 1);
}

TEST_F(FamilyTest, the_terminal_is_the_roots_and_has_the_size_and_modes_of_the_plan) {
  plan.terminal = true;
  plan.size = winsize{17, 71, 0, 0};
  plan.root_main = [](int slave) {
    winsize size = *sys::terminal_size(slave);
    bool control = sys::open("/dev/tty", O_RDWR).has_value();
    return size.ws_row == 17 && size.ws_col == 71 && control && sys::foreground_group(slave) == getpid();
  };
  EXPECT_EQ(run(), 1);
  EXPECT_TRUE(family.master.valid());
}

TEST_F(FamilyTest, how_the_root_ended_is_written_down) {
  plan.root_main = [](int) {
    sys::exit_now(::kill(getpid(), SIGKILL));
    return 0;
  };
  EXPECT_EQ(run(), 137);
  Job job;
  job.directory = plan.directory;
  EXPECT_TRUE(ending_of(job)->killed);
  EXPECT_EQ(ending_of(job)->value, SIGKILL);
}

TEST_F(FamilyTest, plain_the_numbers_are_the_systems) {
  plan.contained = false;
  plan.root_main = [](int) { return 7; };
  EXPECT_EQ(run(), 7);
  EXPECT_EQ(family.init.number, 0);
  EXPECT_EQ(family.root.number, family.job_root.number);
}

TEST_F(FamilyTest, a_number_that_is_taken_is_refused_with_who_has_it) {
  if (!sys::has_capability(CAP_CHECKPOINT_RESTORE) && !sys::has_capability(CAP_SYS_ADMIN)) {
    GTEST_SKIP() << "needs CAP_CHECKPOINT_RESTORE: without it no number can be asked for";
  }
  plan.contained = false;
  plan.root_pid = getpid();
  plan.root_main = [](int) { return 0; };
  Result<Family> started = start_family(plan);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().kind(), ErrorKind::kUnfit);
  EXPECT_NE(started.error().text().find("stint_tests"), std::string::npos) << started.error().text();
}

}  // namespace
}  // namespace stint::job
