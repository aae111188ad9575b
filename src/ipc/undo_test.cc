// Adjustments of semaphores (SEM_UNDO), which the kernel does not show, are found out and put into another process.
#include "ipc/undo.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "sys/procfs.h"
#include "sys/sysv.h"

namespace stint::ipc {
namespace {

class Set {
 public:
  explicit Set(std::vector<uint16_t> values) : id_(::semget(IPC_PRIVATE, static_cast<int>(values.size()), 0600)) {
    EXPECT_TRUE(sys::set_semaphore_values(id_, values).has_value());
    record_.owner.id = id_;
    record_.values = std::move(values);
  }
  ~Set() { ::semctl(id_, 0, IPC_RMID); }
  int id() const { return id_; }
  std::vector<uint16_t> values() const { return *sys::semaphore_values(id_, record_.values.size()); }
  image::SemaphoreSetRecord record() const {
    image::SemaphoreSetRecord record = record_;
    record.values = values();
    return record;
  }

 private:
  int id_;
  image::SemaphoreSetRecord record_;
};

bool change(int set, size_t semaphore, int by) {
  sembuf operation{static_cast<unsigned short>(semaphore), static_cast<short>(by), SEM_UNDO};
  return ::semop(set, &operation, 1) == 0;
}

// A process that has done something to semaphores and then sleeps, stopped and in our hands.
class Process {
 public:
  explicit Process(const std::function<bool()>& body) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      bool done = body();
      if (::write(ready[1], &done, 1) != 1) ::_exit(1);
      while (true) ::pause();
    }
    bool done = false;
    EXPECT_EQ(::read(ready[0], &done, 1), 1);
    EXPECT_TRUE(done);
    ::close(ready[0]), ::close(ready[1]);
    Result<tracee::StoppedProcess> stopped = tracee::StoppedProcess::stop(Pid{pid_}, std::chrono::seconds(10));
    EXPECT_TRUE(stopped.has_value()) << stopped.error().text();
    process_.emplace(std::move(*stopped));
    Result<tracee::Hands> hands = enter();
    EXPECT_TRUE(hands.has_value()) << hands.error().text();
    hands_.emplace(std::move(*hands));
  }
  Result<tracee::Hands> enter() {
    std::vector<proc::Vma> vmas = TRY(proc::parse_maps(TRY(sys::read_proc(process_->pid(), "maps"))));
    return tracee::Hands::map_area(*process_, TRY(tracee::find_entrance(*process_, vmas, nullptr)));
  }
  // It ends, and what it had to undo is undone.
  ~Process() { end(); }
  void end() {
    if (pid_ == 0) return;
    hands_.reset();
    process_->kill();
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }
  Member member() { return {*process_, *hands_, pid_}; }
  int pid() const { return pid_; }

 private:
  int pid_ = 0;
  std::optional<tracee::StoppedProcess> process_;
  std::optional<tracee::Hands> hands_;
};

std::vector<int> adjustments(Process& process, const Set& set) {
  std::vector<image::SemaphoreSetRecord> sets{set.record()};
  Member members[] = {process.member()};
  Result<> captured = capture_undo(members, sets);
  EXPECT_TRUE(captured.has_value()) << captured.error().text();
  std::vector<int> found(set.values().size());
  for (const image::SemaphoreUndo& undo : sets[0].undo) found[undo.semaphore] = undo.adjustment;
  return found;
}

struct Case {
  std::vector<uint16_t> before;
  std::vector<int> changes;
};

class SemaphoreUndoTest : public testing::TestWithParam<Case> {};

TEST_P(SemaphoreUndoTest, IsFoundOutWithoutAChangeAndMadeInAnotherProcess) {
  const Case& wanted = GetParam();
  Set set(wanted.before);
  Process process([&] {
    for (size_t i = 0; i < wanted.changes.size(); ++i)
      if (wanted.changes[i] != 0 && !change(set.id(), i, wanted.changes[i])) return false;
    return true;
  });
  std::vector<uint16_t> values = set.values();
  std::vector<int> expected;
  for (int by : wanted.changes) expected.push_back(-by);
  EXPECT_EQ(adjustments(process, set), expected);
  EXPECT_EQ(set.values(), values);

  std::vector<image::SemaphoreSetRecord> sets{set.record()};
  for (size_t i = 0; i < expected.size(); ++i)
    if (expected[i] != 0) sets[0].undo.push_back({1, static_cast<uint32_t>(i), expected[i]});
  Process other([] { return true; });
  Member member = other.member();
  member.pid = 1;
  Result<> restored = restore_undo(member, sets);
  ASSERT_TRUE(restored.has_value()) << restored.error().text();
  EXPECT_EQ(set.values(), values);
  EXPECT_EQ(adjustments(other, set), expected);
}

INSTANTIATE_TEST_SUITE_P(All, SemaphoreUndoTest,
                         testing::Values(Case{{0, 0}, {0, 0}}, Case{{1, 0, 5}, {-1, 1, 0}},
                                         Case{{0, 32767, 32767, 0}, {32767, -32767, -1, 32766}},
                                         Case{{16384, 16383, 1}, {16383, -16383, 32766}},
                                         Case{{30000, 100}, {-29999, 30000}},
                                         Case{std::vector<uint16_t>(130, 7), std::vector<int>(130, -3)}));

TEST(SemaphoreUndo, IsAppliedAtTheEndOfTheProcess) {
  Set set({10});
  Process process([&] { return change(set.id(), 0, -4); });
  EXPECT_EQ(adjustments(process, set), std::vector<int>{4});
  process.end();
  EXPECT_EQ(set.values(), std::vector<uint16_t>{10});
}

}  // namespace
}  // namespace stint::ipc
