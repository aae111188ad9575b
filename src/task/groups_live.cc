// Process groups and sessions: who is in which, also where the leader is gone or has moved on, and whom a signal to a
// group reaches after a restart.
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>

#include <list>

#include "test/live/program/processes.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

struct Place {
  pid_t parent, group, session;
};

Place place_of_self() { return {getppid(), getpgrp(), getsid(0)}; }

void expect_place(const Place& before) {
  EXPECT_EQ(getppid(), before.parent);
  EXPECT_EQ(getpgrp(), before.group);
  EXPECT_EQ(getsid(0), before.session);
}

// Stands by, and is then where it was.
int keep_place(const Line& line) {
  const Place place = place_of_self();
  line.stand_by();
  expect_place(place);
  line.say("well");
  return 0;
}

// The test's end of keep_place() in a process that is not its child.
void let_keep(const Line& line) {
  line.go_on();
  EXPECT_EQ(line.hear(), "well");
  line.await_end();
}

LIVE_TEST(root_keeps_its_group_and_session) {
  const Place place = place_of_self();
  freeze_point();
  expect_place(place);
}

LIVE_TEST(child_leads_a_group_of_its_own) {
  Child child([](Line& line) {
    EXPECT_OK(setpgid(0, 0));
    EXPECT_EQ(getpgrp(), getpid());
    return keep_place(line);
  });
  child.await();
  freeze_point();
  EXPECT_EQ(EXPECT_OK(getpgid(child.pid())), child.pid());
  child.finish();
}

LIVE_TEST(two_groups_of_three_processes_each) {
  std::list<Child> children;
  pid_t leaders[2] = {};
  for (int i = 0; i < 6; ++i) {
    pid_t& leader = leaders[i % 2];
    children.emplace_back([&](Line& line) {
      EXPECT_OK(setpgid(0, leader));
      return keep_place(line);
    });
    children.back().await();
    if (leader == 0) leader = children.back().pid();
  }
  freeze_point();
  int i = 0;
  for (Child& child : children) EXPECT_EQ(EXPECT_OK(getpgid(child.pid())), leaders[i++ % 2]);
  for (Child& child : children) child.finish();
}

LIVE_TEST(group_outlives_its_leader) {
  Child leader([](Line& line) {
    EXPECT_OK(setpgid(0, 0));
    line.stand_by();
    return 0;
  });
  leader.await();
  std::list<Child> members;
  for (int i = 0; i < 3; ++i) {
    members.emplace_back([&](Line& line) {
      EXPECT_OK(setpgid(0, leader.pid()));
      return keep_place(line);
    });
    members.back().await();
  }
  leader.finish();
  freeze_point();
  for (Child& member : members) EXPECT_EQ(EXPECT_OK(getpgid(member.pid())), leader.pid());
  for (Child& member : members) member.finish();
}

LIVE_TEST(group_goes_on_when_its_leader_has_moved_to_another) {
  std::list<Child> children;
  pid_t first = 0;
  for (int i = 0; i < 3; ++i) {
    children.emplace_back([&](Line& line) {
      EXPECT_OK(setpgid(0, first));
      line.stand_by();
      return keep_place(line);
    });
    children.back().await();
    if (first == 0) first = children.back().pid();
  }
  EXPECT_OK(setpgid(first, getpgrp()));
  for (Child& child : children) child.go_on();
  for (Child& child : children) child.await();
  freeze_point();
  EXPECT_EQ(EXPECT_OK(getpgid(first)), getpgrp());
  EXPECT_EQ(EXPECT_OK(getpgid(children.back().pid())), first);
  for (Child& child : children) child.finish();
}

LIVE_TEST(two_leaders_have_changed_places) {
  std::list<Child> children;
  for (int i = 0; i < 2; ++i) {
    children.emplace_back([](Line& line) {
      EXPECT_OK(setpgid(0, 0));
      line.stand_by();
      return keep_place(line);
    });
    children.back().await();
  }
  const pid_t a = children.front().pid(), b = children.back().pid();
  // A third holds a's group while a goes to b's and b to a's.
  Child third([&](Line& line) {
    EXPECT_OK(setpgid(0, a));
    return keep_place(line);
  });
  third.await();
  EXPECT_OK(setpgid(a, b));
  EXPECT_OK(setpgid(b, a));
  for (Child& child : children) child.go_on();
  for (Child& child : children) child.await();
  freeze_point();
  EXPECT_EQ(EXPECT_OK(getpgid(a)), b);
  EXPECT_EQ(EXPECT_OK(getpgid(b)), a);
  for (Child& child : children) child.finish();
  third.finish();
}

LIVE_TEST(leader_of_a_group_is_the_child_of_a_member) {
  Lines lines = make_lines();
  Child member([&](Line& line) {
    const pid_t leader = fork_to([&] {
      EXPECT_OK(setpgid(0, 0));
      return keep_place(lines.theirs);
    });
    EXPECT_EQ(lines.ours.hear(), "here");
    EXPECT_OK(setpgid(0, leader));
    EXPECT_EQ(keep_place(line), 0);
    lines.ours.go_on();
    EXPECT_EQ(lines.ours.hear(), "well");
    expect_well(leader);
    return 0;
  });
  member.await();
  freeze_point();
  member.finish();
}

// ---- Signals to groups

std::atomic<int> signalled = 0;
void note(int, siginfo_t*, void*) { ++signalled; }

LIVE_TEST(signal_to_a_group_reaches_its_members_and_nobody_else) {
  signalled = 0;
  const Handler handler(SIGUSR1, note, SA_RESTART);
  std::list<Child> children;
  pid_t leader = 0;
  for (int i = 0; i < 4; ++i) {
    const bool outside = i == 3;
    children.emplace_back([&, outside](Line& line) {
      EXPECT_OK(setpgid(0, outside ? 0 : leader));
      line.stand_by();
      return signalled == (outside ? 0 : 1) ? 0 : 1;
    });
    children.back().await();
    if (leader == 0) leader = children.back().pid();
  }
  freeze_point();
  EXPECT_OK(kill(-leader, SIGUSR1));
  for (Child& child : children) child.finish();
  EXPECT_EQ(signalled.load(), 0);
}

LIVE_TEST(children_are_waited_for_by_their_group) {
  std::list<Child> children;
  pid_t leader = 0;
  for (int i = 0; i < 3; ++i) {
    children.emplace_back([&, i](Line& line) {
      if (i > 0) EXPECT_OK(setpgid(0, leader));
      line.stand_by();
      return i;
    });
    children.back().await();
    if (i == 1) leader = children.back().pid();
  }
  freeze_point();
  for (Child& child : children) child.go_on();
  int sum = 0;
  for (int i = 0; i < 2; ++i) {
    int status = 0;
    EXPECT_OK(waitpid(-leader, &status, 0));
    sum += WEXITSTATUS(status);
  }
  EXPECT_EQ(sum, 3);
  errno = 0;
  EXPECT_EQ(waitpid(-leader, nullptr, 0), -1);
  EXPECT_EQ(errno, ECHILD);
  EXPECT_EQ(children.front().wait_status(), 0);
  for (Child& child : children) child.forget();
}

// ---- Sessions

LIVE_TEST(child_leads_a_session_of_its_own) {
  Child child([](Line& line) {
    EXPECT_OK(setsid());
    EXPECT_EQ(getsid(0), getpid());
    EXPECT_EQ(keep_place(line), 0);
    errno = 0;
    EXPECT_EQ(setsid(), -1);
    EXPECT_EQ(errno, EPERM);
    return 0;
  });
  child.await();
  freeze_point();
  EXPECT_EQ(EXPECT_OK(getsid(child.pid())), child.pid());
  child.finish();
}

LIVE_TEST(child_stays_in_the_session_that_its_parent_has_left) {
  const pid_t session = getsid(0);
  Child parent([&](Line& line) {
    Child before(keep_place);
    before.await();
    EXPECT_OK(setsid());
    Child after([](Line& own) {
      EXPECT_EQ(getsid(0), getppid());
      return keep_place(own);
    });
    after.await();
    EXPECT_EQ(keep_place(line), 0);
    EXPECT_EQ(EXPECT_OK(getsid(before.pid())), session);
    EXPECT_EQ(EXPECT_OK(getsid(after.pid())), getpid());
    before.finish();
    after.finish();
    return 0;
  });
  parent.await();
  freeze_point();
  parent.finish();
}

// In between, somebody has made a session of its own after it had forked.
LIVE_TEST(grandchild_is_in_the_session_of_its_grandparent) {
  Child leader([](Line& line) {
    EXPECT_OK(setsid());
    const pid_t session = getpid();
    Child between([&](Line& own) {
      Child grandchild([&](Line& lowest) {
        EXPECT_EQ(getsid(0), session);
        return keep_place(lowest);
      });
      grandchild.await();
      EXPECT_OK(setsid());
      EXPECT_EQ(keep_place(own), 0);
      EXPECT_EQ(EXPECT_OK(getsid(grandchild.pid())), session);
      grandchild.finish();
      return 0;
    });
    between.await();
    EXPECT_EQ(keep_place(line), 0);
    between.finish();
    return 0;
  });
  leader.await();
  freeze_point();
  leader.finish();
}

LIVE_TEST(five_sessions_one_below_the_other) {
  std::function<int(const Line&, int)> nest = [&](const Line& line, int depth) {
    EXPECT_OK(setsid());
    const Place place = place_of_self();
    if (depth == 0) {
      line.stand_by();
    } else {
      expect_well(fork_to([&] { return nest(line, depth - 1); }));
    }
    expect_place(place);
    return 0;
  };
  Child first([&](Line& line) { return nest(line, 4); });
  first.await();
  freeze_point();
  first.finish();
}

LIVE_TEST(session_with_three_groups) {
  Child leader([](Line& line) {
    EXPECT_OK(setsid());
    std::list<Child> members;
    for (int i = 0; i < 3; ++i) {
      members.emplace_back([&](Line& own) {
        EXPECT_OK(setpgid(0, i < 2 ? 0 : members.front().pid()));
        return keep_place(own);
      });
      members.back().await();
    }
    EXPECT_EQ(keep_place(line), 0);
    for (Child& member : members) member.finish();
    return 0;
  });
  leader.await();
  freeze_point();
  leader.finish();
}

// ---- Daemons

LIVE_TEST(daemon_after_a_double_fork_keeps_its_session_without_a_leader) {
  Lines lines = make_lines();
  expect_well(fork_to([&] {
    EXPECT_OK(setsid());
    const pid_t self = getpid();
    fork_to([&] {
      while (getppid() == self) sleep_for(0.001);
      EXPECT_NE(getsid(0), getpid());
      return keep_place(lines.theirs);
    });
    return 0;
  }));
  lines.theirs.close();
  lines.ours.await();
  freeze_point();
  let_keep(lines.ours);
}

LIVE_TEST(three_daemons_in_one_session_without_a_leader) {
  std::list<Lines> lines;
  for (int i = 0; i < 3; ++i) lines.push_back(make_lines());
  expect_well(fork_to([&] {
    EXPECT_OK(setsid());
    const pid_t self = getpid();
    pid_t group = 0;
    for (Lines& line : lines) {
      const pid_t daemon = fork_to([&] {
        while (getppid() == self) sleep_for(0.001);
        return keep_place(line.theirs);
      });
      if (group != 0) EXPECT_OK(setpgid(daemon, group == 1 ? 0 : getpgrp()));
      ++group;
    }
    return 0;
  }));
  for (Lines& line : lines) line.theirs.close();
  for (Lines& line : lines) line.ours.await();
  freeze_point();
  for (Lines& line : lines) line.ours.go_on();
  for (Lines& line : lines) EXPECT_EQ(line.ours.hear(), "well");
  for (Lines& line : lines) line.ours.await_end();
}

LIVE_TEST(daemon_with_children_of_its_own) {
  Lines lines = make_lines();
  expect_well(fork_to([&] {
    EXPECT_OK(setsid());
    const pid_t self = getpid();
    fork_to([&] {
      while (getppid() == self) sleep_for(0.001);
      std::list<Child> workers;
      for (int i = 0; i < 3; ++i) {
        workers.emplace_back([&](Line& line) {
          if (i == 2) EXPECT_OK(setsid());
          return keep_place(line);
        });
        workers.back().await();
      }
      EXPECT_EQ(keep_place(lines.theirs), 0);
      for (Child& worker : workers) worker.finish();
      lines.theirs.say("all");
      return 0;
    });
    return 0;
  }));
  lines.theirs.close();
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  EXPECT_EQ(lines.ours.hear(), "well");
  EXPECT_EQ(lines.ours.hear(), "all");
  lines.ours.await_end();
}

LIVE_TEST(orphan_leads_its_own_session) {
  Lines lines = make_lines();
  expect_well(fork_to([&] {
    const pid_t middle = getpid();
    fork_to([&] {
      EXPECT_OK(setsid());
      while (getppid() == middle) sleep_for(0.001);
      EXPECT_EQ(getsid(0), getpid());
      return keep_place(lines.theirs);
    });
    return 0;
  }));
  lines.theirs.close();
  lines.ours.await();
  freeze_point();
  let_keep(lines.ours);
}

LIVE_TEST(daemon_below_a_subreaper_of_the_job) {
  Lines lines = make_lines();
  SharedValue<pid_t> daemon;
  Child reaper([&](Line& line) {
    EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    expect_well(fork_to([&] {
      EXPECT_OK(setsid());
      const pid_t self = getpid();
      *daemon = fork_to([&] {
        while (getppid() == self) sleep_for(0.001);
        return keep_place(lines.theirs);
      });
      return 0;
    }));
    line.stand_by();
    expect_well(*daemon);
    return 0;
  });
  lines.theirs.close();
  reaper.await();
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  EXPECT_EQ(lines.ours.hear(), "well");
  reaper.finish();
}

LIVE_TEST(session_of_which_the_leader_is_a_zombie) {
  Lines lines = make_lines();
  const pid_t leader = fork_to([&] {
    EXPECT_OK(setsid());
    const pid_t self = getpid();
    fork_to([&] {
      while (getppid() == self) sleep_for(0.001);
      EXPECT_EQ(getsid(0), self);
      return keep_place(lines.theirs);
    });
    return 8;
  });
  lines.theirs.close();
  lines.ours.await();
  freeze_point();
  let_keep(lines.ours);
  EXPECT_EQ(wait_status_of(leader), 8 << 8);
}

}  // namespace
}  // namespace live
