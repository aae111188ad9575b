// A program that has replaced itself by execve(2): descriptors, ids and what execve keeps went on; handlers, threads
// and memory began anew. A repetition finds the mark in the environment and does not replace itself again.
#include <stdlib.h>
#include <sys/ioctl.h>

#include <thread>
#include <vector>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

constexpr const char* kMark = "LIVE_EXECUTED";

// Runs this program again, in its place, with the arguments that it was given.
void execute_again() {
  static std::string arguments = read_whole("/proc/self/cmdline");
  std::vector<char*> argv;
  for (size_t at = 0; at < arguments.size(); at = arguments.find('\0', at) + 1) argv.push_back(&arguments[at]);
  argv.push_back(nullptr);
  execv("/proc/self/exe", argv.data());
  fail_call(__FILE__, __LINE__, "execv");
}

LIVE_TEST(program_that_replaced_itself_is_cut_like_any_other) {
  if (getenv(kMark) == nullptr) {
    const Ends pipe = make_pipe();
    write_all(pipe.write, "from the one before");
    const std::string mark = std::to_string(getpid()) + " " + std::to_string(pipe.read);
    EXPECT_OK(setenv(kMark, mark.c_str(), 1));
    execute_again();
  }
  int pid = 0;
  int inherited = -1;
  EXPECT_EQ(sscanf(getenv(kMark), "%d %d", &pid, &inherited), 2);
  EXPECT_EQ(getpid(), pid);
  freeze_point();
  EXPECT_EQ(getpid(), pid);
  int queued = 0;
  EXPECT_OK(ioctl(inherited, FIONREAD, &queued));
  EXPECT_EQ(queued, 19);
}

LIVE_TEST(program_replaced_by_one_of_its_threads_keeps_its_process_id) {
  if (getenv(kMark) == nullptr) {
    EXPECT_OK(setenv(kMark, std::to_string(getpid()).c_str(), 1));
    std::thread(execute_again).join();
  }
  freeze_point();
  EXPECT_EQ(std::to_string(getpid()), getenv(kMark));
  EXPECT_EQ(gettid(), getpid());
}

}  // namespace
}  // namespace live
