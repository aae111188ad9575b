// A terminal of the job's own that controls a session inside it: what script(1), expect(1) and tmux(1) make. The
// foreground group reads and gets the signals, /dev/tty leads there, whatever happens to the job's own terminal.
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>

#include "test/live/program/pty.h"

namespace live {
namespace {

struct Pty {
  Fd master, slave;
};

Pty make_pty() {
  Pty pty;
  pty.master = new_pty_master();
  pty.slave = pty_slave_of(pty.master);
  termios modes;
  EXPECT_OK(tcgetattr(pty.slave, &modes));
  modes.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  EXPECT_OK(tcsetattr(pty.slave, TCSANOW, &modes));
  return pty;
}

void say(int fd, const char* what) {
  if (write(fd, what, 1) != 1) _exit(90);
}

void wait_for_byte(int fd) {
  char byte = 0;
  if (read(fd, &byte, 1) != 1) _exit(91);
}

// A child that leads a session which the pty controls, and runs `what`, which ends with _exit.
template <class What>
pid_t lead_session(Pty& pty, const What& what) {
  const pid_t child = fork();
  if (child != 0) return child;
  if (setsid() < 0 || ioctl(pty.slave, TIOCSCTTY, 0) != 0) _exit(92);
  pty.master.reset();
  what();
  _exit(93);
}

int status_of(pid_t child) {
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

LIVE_TEST(session_of_a_child_keeps_the_terminal_that_controls_it) {
  Pty pty = make_pty();
  auto [said, say_end] = make_pipe();
  auto [go, go_end] = make_pipe();
  const pid_t child = lead_session(pty, [&] {
    pty.slave.reset();  // It has the terminal by /dev/tty alone.
    say(say_end, "r");
    wait_for_byte(go);
    const int terminal = open("/dev/tty", O_RDWR);
    char line[8] = {};
    if (terminal < 0 || read(terminal, line, sizeof(line)) != 4) _exit(1);
    _exit(tcgetpgrp(terminal) == getpid() && tcgetsid(terminal) == getpid() && line[0] == 'y' ? 7 : 2);
  });
  wait_for_byte(said);
  freeze_point();
  pid_t group = 0;
  EXPECT_OK(ioctl(pty.master, TIOCGPGRP, &group));
  EXPECT_EQ(group, child);
  say(go_end, "g");
  write_all(pty.master, "yes\n");
  EXPECT_EQ(status_of(child), 7);
}

LIVE_TEST(open_controlling_terminal_of_a_child_is_still_its_own) {
  Pty pty = make_pty();
  auto [said, say_end] = make_pipe();
  const pid_t child = lead_session(pty, [&] {
    const int terminal = open("/dev/tty", O_RDWR);
    pty.slave.reset();
    say(say_end, "r");
    char line[8] = {};
    _exit(terminal >= 0 && read(terminal, line, sizeof(line)) == 4 && line[0] == 'y' ? 7 : 1);
  });
  wait_for_byte(said);
  freeze_point();
  write_all(pty.master, "yes\n");
  EXPECT_EQ(status_of(child), 7);
}

LIVE_TEST(foreground_group_of_a_terminal_inside_gets_its_interrupt) {
  Pty pty = make_pty();
  auto [said, say_end] = make_pipe();
  const pid_t shell = lead_session(pty, [&] {
    signal(SIGTTOU, SIG_IGN);
    const pid_t job = fork();
    if (job == 0) {
      setpgid(0, 0);
      tcsetpgrp(pty.slave, getpid());
      signal(SIGINT, SIG_DFL);
      say(say_end, "r");
      for (;;) pause();
    }
    int status = 0;
    if (waitpid(job, &status, 0) != job) _exit(1);
    _exit(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT ? 7 : 2);
  });
  wait_for_byte(said);
  pid_t before = 0, after = 0;
  EXPECT_OK(ioctl(pty.master, TIOCGPGRP, &before));
  EXPECT_NE(before, shell);
  freeze_point();
  EXPECT_OK(ioctl(pty.master, TIOCGPGRP, &after));
  EXPECT_EQ(after, before);
  write_all(pty.master, "\003");
  EXPECT_EQ(status_of(shell), 7);
}

LIVE_TEST(foreground_group_whose_processes_have_ended_is_still_shown) {
  Pty pty = make_pty();
  auto [said, say_end] = make_pipe();
  auto [go, go_end] = make_pipe();
  const pid_t shell = lead_session(pty, [&] {
    const pid_t job = fork();
    if (job == 0) _exit(setpgid(0, 0));
    signal(SIGTTOU, SIG_IGN);
    setpgid(job, job);
    tcsetpgrp(pty.slave, job);
    waitpid(job, nullptr, 0);
    const pid_t shown = tcgetpgrp(pty.slave);
    say(say_end, "r");
    wait_for_byte(go);
    _exit(shown == job && tcgetpgrp(pty.slave) == job && tcsetpgrp(pty.slave, getpid()) == 0 ? 7 : 2);
  });
  wait_for_byte(said);
  pid_t before = 0, after = 0;
  EXPECT_OK(ioctl(pty.master, TIOCGPGRP, &before));
  EXPECT_NE(before, shell);
  freeze_point();
  EXPECT_OK(ioctl(pty.master, TIOCGPGRP, &after));
  EXPECT_EQ(after, before);
  say(go_end, "g");
  EXPECT_EQ(status_of(shell), 7);
}

LIVE_TEST(process_that_has_given_up_its_terminal_has_none) {
  Pty pty = make_pty();
  auto [said, say_end] = make_pipe();
  auto [go, go_end] = make_pipe();
  const pid_t leader = lead_session(pty, [&] {
    const pid_t without = fork();
    if (without == 0) {
      if (ioctl(pty.slave, TIOCNOTTY) != 0) _exit(1);
      say(say_end, "r");
      wait_for_byte(go);
      _exit(open("/dev/tty", O_RDWR) < 0 && errno == ENXIO ? 5 : 2);
    }
    int status = 0;
    waitpid(without, &status, 0);
    _exit(WIFEXITED(status) && WEXITSTATUS(status) == 5 && open("/dev/tty", O_RDWR) >= 0 ? 7 : 3);
  });
  wait_for_byte(said);
  freeze_point();
  say(go_end, "g");
  EXPECT_EQ(status_of(leader), 7);
}

LIVE_TEST(end_of_a_terminal_inside_hangs_up_its_session) {
  Pty pty = make_pty();
  auto [said, say_end] = make_pipe();
  const pid_t child = lead_session(pty, [&] {
    say(say_end, "r");
    for (;;) pause();
  });
  wait_for_byte(said);
  pty.slave.reset();
  freeze_point();
  pty.master.reset();
  EXPECT_EQ(status_of(child), 1000 + SIGHUP);
}

}  // namespace
}  // namespace live
