#include "test/live/program/processes.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "test/live/program/threads.h"

namespace live {

void Line::say(std::string_view word) const { write_all(out_, std::string(word) + "\n"); }

std::string Line::hear() const {
  std::string word;
  for (;;) {
    const std::string next = read_once(in_, 1);
    if (next.empty() || next == "\n") return word;
    word += next;
  }
}

Lines make_lines() {
  Ends down = make_pipe(O_CLOEXEC);
  Ends up = make_pipe(O_CLOEXEC);
  return {Line(std::move(up.read), std::move(down.write)), Line(std::move(down.read), std::move(up.write))};
}

namespace {

[[noreturn]] void run_child(const std::function<int()>& body) {
  const int status = body();
  fflush(stdout);
  _exit(status);
}

}  // namespace

pid_t fork_to(const std::function<int()>& body) {
  fflush(stdout);
  const pid_t pid = EXPECT_OK(fork());
  if (pid == 0) run_child(body);
  return pid;
}

pid_t clone_to(unsigned long flags, const std::function<int()>& body) {
  fflush(stdout);
  const long pid = EXPECT_OK(syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr));
  if (pid == 0) run_child(body);
  return static_cast<pid_t>(pid);
}

int wait_status_of(pid_t pid, int options) {
  int status = 0;
  pid_t waited;
  do waited = waitpid(pid, &status, options);
  while (waited < 0 && errno == EINTR);
  if (waited != pid) fail(__FILE__, __LINE__, "waitpid " + shown(pid) + " gave " + shown(waited));
  return status;
}

void expect_well(pid_t pid) {
  const int status = wait_status_of(pid);
  if (status != 0) fail(__FILE__, __LINE__, "process " + shown(pid) + " ended with wait status " + shown(status));
}

Child::Child(const std::function<int(Line&)>& body)
    : lines_(make_lines()), pid_(fork_to([&] {
        lines_.ours.close();
        return body(lines_.theirs);
      })) {
  lines_.theirs.close();
}

Child::~Child() {
  if (waited_ || pid_ <= 0) return;
  fail(__FILE__, __LINE__, "nobody has waited for child " + shown(pid_));
}

int Child::wait_status() {
  waited_ = true;
  return wait_status_of(pid_);
}

void Child::finish() {
  go_on();
  waited_ = true;
  expect_well(pid_);
}

void wait_until_state(pid_t pid, char state) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  std::string seen;
  for (int waited = 0; waited < 20'000; ++waited) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return sleep_for(0.1);  // The /proc of another pid namespace cannot tell.
    char text[512] = {};
    const ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    seen = text;
    const size_t name_end = seen.rfind(')');
    if (size > 0 && name_end != seen.npos && seen[name_end + 2] == state) return;
    sleep_for(0.001);
  }
  fail(__FILE__, __LINE__, "process " + shown(pid) + " never came to state " + state + ": " + seen);
}

}  // namespace live
