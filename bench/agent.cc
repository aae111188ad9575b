// What the agent costs: the same call plain, with the agent mapped and nothing to note, with a note; a program's start
// with and without. Each kind is measured in a child of its own, in turns, many times; the smallest is reported with
// the ratio to the plain one, because other load on the machine only ever adds.
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "files/agent_install.h"
#include "sys/file.h"

namespace {

constexpr int kTurns = 7;

double now_ns() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

template <class Call>
double nanoseconds(int times, Call call) {
  double best = 1e18;
  for (int round = 0; round < 5; ++round) {
    double start = now_ns();
    for (int i = 0; i < times; ++i) call();
    best = std::min(best, (now_ns() - start) / times);
  }
  return best;
}

// In the child: prints one figure for each call.
int measure_calls() {
  int file = open("/dev/null", O_RDONLY);
  // A library function that makes no system call on this path: what a plain call through the PLT costs.
  fmt::print("{}\n", nanoseconds(2'000'000, [&] { (void)fcntl(-1, F_GETFD); }));
  fmt::print("{}\n", nanoseconds(200'000, [&] { close(dup(file)); }));
  fmt::print("{}\n", nanoseconds(200'000, [&] { close(open("/dev/null", O_RDONLY)); }));
  fmt::print("{}\n", nanoseconds(200'000, [&] { close(open("agent-bench", O_RDWR | O_CREAT, 0600)); }));
  fmt::print("{}\n", nanoseconds(200, [&] {
               pid_t child = fork();
               if (child == 0) _exit(0);
               waitpid(child, nullptr, 0);
             }));
  return 0;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

std::string run(const std::string& program, const std::vector<std::string>& environment, bool calls) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return "";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  std::vector<std::string> arguments{program};
  if (calls) arguments.push_back("--calls");
  pid_t child = 0;
  posix_spawn(&child, program.c_str(), &actions, nullptr, pointers(arguments).data(), pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string output;
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;) output.append(buffer, got);
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return output;
}

double start_ns(const std::vector<std::string>& environment) {
  double start = now_ns();
  run("/bin/true", environment, false);
  return now_ns() - start;
}

void report(const std::string& what, double plain, double with_agent) {
  fmt::print("{:42} plain {:10.1f} ns   agent {:10.1f} ns   +{:.1f} ns   {:.2f}\n", what, plain, with_agent,
             with_agent - plain, with_agent / plain);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--calls") == 0) return measure_calls();
  char directory[] = "/tmp/stint-bench-XXXXXX";
  if (mkdtemp(directory) == nullptr || chdir(directory) != 0) return 1;
  std::string ledger = std::string(directory) + "/ledger";
  stint::Result<stint::files::AgentPaths> agent = stint::files::install_agent(directory);
  if (!agent.has_value() || !stint::files::create_ledger(ledger).has_value()) return 1;
  std::vector<std::string> plain{"PATH=/usr/bin"};
  std::vector<std::string> with_agent = stint::files::build_environment(plain, *agent, ledger);
  std::string self = stint::sys::readlink("/proc/self/exe").value();

  constexpr const char* kCalls[] = {"fcntl, nothing to note (fails at once)", "dup + close", "open + close",
                                    "open of a relative name + close", "fork + wait"};
  double best[std::size(kCalls)][2];
  std::fill(&best[0][0], &best[0][0] + 2 * std::size(kCalls), 1e18);
  double starts[2] = {1e18, 1e18};
  for (int turn = 0; turn < kTurns; ++turn) {
    for (int kind = 0; kind < 2; ++kind) {
      const std::vector<std::string>& environment = kind == 0 ? plain : with_agent;
      std::string output = run(self, environment, true);
      const char* at = output.c_str();
      for (double(&figure)[2] : best) {
        char* rest = nullptr;
        figure[kind] = std::min(figure[kind], strtod(at, &rest));
        at = rest;
      }
      for (int i = 0; i < 100; ++i) starts[kind] = std::min(starts[kind], start_ns(environment));
    }
  }
  for (size_t i = 0; i < std::size(kCalls); ++i) report(kCalls[i], best[i][0], best[i][1]);
  report("start of /bin/true", starts[0], starts[1]);
  return stint::sys::remove_tree(directory).has_value() ? 0 : 1;
}
