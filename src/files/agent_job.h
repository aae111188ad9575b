// For tests: a directory with an agent and a ledger in it, in which programs run as a job's would.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include "abi/ledger_reader.h"
#include "files/agent_install.h"
#include "sys/file.h"

namespace stint::files {

struct Outcome {
  pid_t pid = 0;
  int status = 0;  // as wait(2) gives it
  std::string out;
  std::string err;
};

class AgentJob {
 public:
  AgentJob() {
    char path[] = "/tmp/stint-agent-XXXXXX";
    directory_ = mkdtemp(path);
    Result<AgentPaths> paths = install_agent(directory_ + "/state");
    EXPECT_TRUE(paths.has_value()) << (paths.has_value() ? "" : paths.error().text());
    if (paths.has_value()) paths_ = *paths;
    Result<> made = create_ledger(ledger_path());
    EXPECT_TRUE(made.has_value()) << (made.has_value() ? "" : made.error().text());
  }
  AgentJob(const AgentJob&) = delete;
  AgentJob& operator=(const AgentJob&) = delete;
  ~AgentJob() { (void)sys::remove_tree(directory_); }

  const std::string& directory() const { return directory_; }
  const AgentPaths& paths() const { return paths_; }
  std::string ledger_path() const { return directory_ + "/ledger"; }
  // One of the programs of test/agent.
  static std::string program(const std::string& name) { return STINT_BINARY_DIR "/agent/test/" + name; }

  // Runs a program in the job's directory with standard descriptors only, and waits until it ends or stops itself.
  Outcome run(const std::vector<std::string>& arguments,
              const std::vector<std::string>& environment = {"PATH=/usr/bin"}) {
    return run_with(arguments, build_environment(environment, paths_, ledger_path()));
  }
  // The same without the agent.
  Outcome run_plainly(const std::vector<std::string>& arguments,
                      const std::vector<std::string>& environment = {"PATH=/usr/bin"}) {
    return run_with(arguments, environment);
  }

  // Ends a program that has stopped itself. (One that ends by itself has its objects unmapped, one by one, by the
  // linker.)
  static void end(const Outcome& stopped) {
    kill(stopped.pid, SIGKILL);
    waitpid(stopped.pid, nullptr, 0);
  }

  abi::Ledger ledger() const {
    Result<abi::Ledger> ledger = abi::read_ledger(sys::read_file(ledger_path()).value());
    EXPECT_TRUE(ledger.has_value()) << (ledger.has_value() ? "" : ledger.error().text());
    return ledger.has_value() ? std::move(*ledger) : abi::Ledger{};
  }
  // What is noted of a process; an empty one if nothing is.
  abi::LedgerProcess noted(pid_t pid) const {
    abi::Ledger all = ledger();
    const abi::LedgerProcess* found = all.find(static_cast<uint32_t>(pid));
    return found == nullptr ? abi::LedgerProcess{} : *found;
  }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

 private:
  static std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
    result.push_back(nullptr);
    return result;
  }
  std::string read(const std::string& name) const {
    Result<Bytes> bytes = sys::read_file(path(name));
    return bytes.has_value() ? std::string(text_of(*bytes)) : "";
  }
  Outcome run_with(const std::vector<std::string>& arguments, const std::vector<std::string>& environment) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, path("out").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, path("err").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawn_file_actions_addchdir_np(&actions, directory_.c_str());
    Outcome outcome;
    int failed = posix_spawnp(&outcome.pid, arguments[0].c_str(), &actions, nullptr, pointers(arguments).data(),
                              pointers(environment).data());
    posix_spawn_file_actions_destroy(&actions);
    EXPECT_EQ(failed, 0) << arguments[0];
    if (failed == 0) waitpid(outcome.pid, &outcome.status, WUNTRACED);
    outcome.out = read("out");
    outcome.err = read("err");
    return outcome;
  }

  std::string directory_;
  AgentPaths paths_;
};

}  // namespace stint::files
