// Processes of live tests: children that stand at a known place when the test is cut, and what they are asked
// afterwards. Whatever a child finds wrong ends it with status 1, which its parent finds.
#pragma once

#include <sys/mman.h>
#include <sys/wait.h>

#include <functional>
#include <string>
#include <string_view>

#include "test/live/program/descriptors.h"

namespace live {

// One end of a line between two processes: words, one at a time.
class Line {
 public:
  Line(Fd in, Fd out) : in_(std::move(in)), out_(std::move(out)) {}
  void say(std::string_view word) const;
  std::string hear() const;  // empty when the other end is gone
  // Stands still until the other end says so.
  void stand_by() const {
    say("here");
    EXPECT_EQ(hear(), "go on");
  }
  // The other end of stand_by().
  void await() const { EXPECT_EQ(hear(), "here"); }
  void go_on() const { say("go on"); }
  // Waits until nobody has the other end any more.
  void await_end() const { EXPECT_EQ(hear(), ""); }
  void close() { in_.reset(), out_.reset(); }
  int in() const { return in_; }
  int out() const { return out_; }

 private:
  Fd in_, out_;
};

struct Lines {
  Line ours, theirs;
};
Lines make_lines();

// fork(2); the child ends with what `body` returns.
pid_t fork_to(const std::function<int()>& body);
// The same by clone(2) with these flags and this exit signal. Without CLONE_VM.
pid_t clone_to(unsigned long flags, const std::function<int()>& body);

// waitpid(2): the status as it gives it.
int wait_status_of(pid_t pid, int options = 0);
// Expects that it exits with status 0.
void expect_well(pid_t pid);

// A child with a line to it. Its body must end before the object goes.
class Child {
 public:
  explicit Child(const std::function<int(Line&)>& body);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();
  pid_t pid() const { return pid_; }
  Line& line() { return lines_.ours; }
  void await() { line().await(); }
  void go_on() { line().go_on(); }
  // Lets it go on from where it stands, and expects that it ends well.
  void finish();
  int wait_status();
  // Somebody else has waited for it.
  void forget() { waited_ = true; }

 private:
  Lines lines_;
  pid_t pid_;
  bool waited_ = false;
};

// Waits until /proc shows the process in this state.
void wait_until_state(pid_t pid, char state);

// A value in memory that all processes forked from here on share.
template <class T>
class SharedValue {
 public:
  SharedValue() : value_(new(map()) T()) {}
  ~SharedValue() { munmap(value_, sizeof(T)); }
  SharedValue(const SharedValue&) = delete;
  SharedValue& operator=(const SharedValue&) = delete;
  T& operator*() const { return *value_; }
  T* operator->() const { return value_; }

 private:
  static void* map() {
    void* memory = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail_call(__FILE__, __LINE__, "mmap");
    return memory;
  }
  T* value_;
};

}  // namespace live
