// The agent follows the program into its children and across exec, and the program's environment does not show it.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <signal.h>

#include <algorithm>

#include "files/agent_job.h"

namespace stint::files {
namespace {

const std::string kStop = fmt::format("{}", SIGSTOP);

bool names_dev_null(const abi::LedgerProcess& process, int fd) {
  auto found = process.descriptors.find(fd);
  return found != process.descriptors.end() && found->second.name == "/dev/null";
}

// The number that the program printed behind a word.
int printed(const Outcome& outcome, const std::string& word) {
  size_t at = outcome.out.find(word + " ");
  return at == std::string::npos ? -1 : atoi(outcome.out.c_str() + at + word.size() + 1);
}

class AgentFollows : public testing::TestWithParam<const char*> {};

TEST_P(AgentFollows, AChildThatIsStartedThisWay) {
  AgentJob job;
  Outcome outcome =
      job.run({job.program("agent_probe"), "start", GetParam(), job.program("agent_opener"), "/dev/null"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  std::vector<abi::LedgerProcess> processes = job.ledger().processes;
  int openers = std::ranges::count_if(processes, [&](const abi::LedgerProcess& process) {
    return process.pid != static_cast<uint32_t>(outcome.pid) &&
           (names_dev_null(process, 3) || names_dev_null(process, 4));
  });
  EXPECT_EQ(openers, 1);
}
INSTANTIATE_TEST_SUITE_P(Ways, AgentFollows,
                         testing::Values("execve", "execve-clean", "execve-null", "execv", "execvp", "execvpe", "execl",
                                         "execlp", "execle", "fexecve", "execveat", "posix_spawn", "posix_spawnp",
                                         "system", "popen"));

TEST(AgentExec, KeepsTheNamesOfDescriptorsThatOutliveIt) {
  AgentJob job;
  Outcome outcome =
      job.run({"/bin/bash", "-c", "exec 5</dev/zero; exec " + job.program("agent_opener") + " /dev/null"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  abi::LedgerProcess process = job.noted(outcome.pid);
  EXPECT_EQ(process.descriptors[5].name, "/dev/zero");
  EXPECT_EQ(process.descriptors[3].name, "/dev/null");
}

TEST(AgentExec, GoesThroughEnvWithAClearedEnvironment) {
  AgentJob job;
  Outcome outcome = job.run({"/usr/bin/env", "-i", job.program("agent_opener"), "/dev/null"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(names_dev_null(job.noted(outcome.pid), 3));
}

TEST(AgentExec, StaysOutWhereItsLibrariesAreNotToBeFound) {
  if (geteuid() != 0) GTEST_SKIP() << "chroot needs root";
  AgentJob job;
  // A root directory with the static program alone in it, and a dynamic one whose linker would complain.
  Outcome outcome = job.run({"/bin/sh", "-c",
                             "mkdir -p root/bin root/lib64 root/lib/x86_64-linux-gnu root/usr && "
                             "cp /bin/true root/bin/ && cp -L /lib64/ld-linux-x86-64.so.2 root/lib64/ && "
                             "cp -L /lib/x86_64-linux-gnu/libc.so.6 root/lib/x86_64-linux-gnu/ && "
                             "/usr/sbin/chroot root /bin/true"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.err, "");
}

TEST(AgentFork, GivesTheChildItsParentsNotesAndItsOwn) {
  AgentJob job;
  Outcome outcome = job.run({job.program("agent_probe"), "fork", "/dev/zero"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  abi::LedgerProcess parent = job.noted(outcome.pid);
  EXPECT_EQ(parent.descriptors[3].name, "/dev/zero");
  EXPECT_EQ(parent.descriptors[4].name, "/dev/null");
  abi::LedgerProcess child = job.noted(printed(outcome, "child"));
  EXPECT_EQ(child.descriptors[3].name, "/dev/zero");
  EXPECT_EQ(child.descriptors[4].dup_of, 3);
  EXPECT_EQ(child.parent, parent.incarnation);
  EXPECT_EQ(child.areas.runner, parent.areas.runner);
  EXPECT_THAT(child.objects,
              testing::Contains(testing::Field(&abi::LedgerObject::name, testing::EndsWith("/libc.so.6"))));
  // Made by a raw system call: noticed at its first note.
  abi::LedgerProcess grandchild = job.noted(printed(outcome, "grandchild"));
  EXPECT_EQ(grandchild.descriptors[5].dup_of, 4);
  EXPECT_EQ(grandchild.parent, child.incarnation);
}

TEST(AgentFork, DoesNotTakeAVforkChildsDescriptorsForTheParents) {
  AgentJob job;
  Outcome outcome = job.run({job.program("agent_probe"), "vfork", "/dev/null", job.program("agent_opener")});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  abi::LedgerProcess parent = job.noted(outcome.pid);
  EXPECT_FALSE(parent.descriptors.contains(50));
  EXPECT_EQ(parent.descriptors[60].dup_of, 3);
  EXPECT_TRUE(names_dev_null(job.noted(printed(outcome, "child")), 4));
}

TEST(AgentEnvironment, ShowsTheProgramWhatTheUserHadSet) {
  AgentJob job;
  // What the linker cannot find it complains about, with and without us: take a library that is there.
  std::string users = "/lib/x86_64-linux-gnu/libm.so.6";
  for (const std::vector<std::string>& environment : {std::vector<std::string>{"A=1", "B=2"},
                                                      {"A=1", "LD_PRELOAD=" + users, "B=2"},
                                                      {"LD_PRELOAD=", "LD_AUDIT=", "C=3"},
                                                      {"GLIBC_TUNABLES=glibc.malloc.arena_max=2", "D=4"},
                                                      {}}) {
    Outcome plain = job.run_plainly({job.program("agent_probe"), "environ"}, environment);
    Outcome with_agent = job.run({job.program("agent_probe"), "environ"}, environment);
    EXPECT_EQ(with_agent.status, 0);
    EXPECT_EQ(with_agent.out, plain.out);
    EXPECT_EQ(with_agent.err, plain.err);
  }
}

TEST(AgentEnvironment, ShowsChildrenWhatTheProgramGaveThem) {
  AgentJob job;
  for (const char* script :
       {"/usr/bin/env", "X=1 /usr/bin/env", "export LD_PRELOAD=/lib/x86_64-linux-gnu/libm.so.6; env",
        "/usr/bin/env -i Y=2 /usr/bin/env", "GLIBC_TUNABLES=glibc.malloc.arena_max=2 /bin/sh -c env",
        "GLIBC_TUNABLES=glibc.rtld.optional_static_tls=700 /bin/sh -c env", "/bin/sh -c env | cat"}) {
    Outcome plain = job.run_plainly({"/bin/sh", "-c", script});
    Outcome with_agent = job.run({"/bin/sh", "-c", script});
    EXPECT_EQ(with_agent.out, plain.out) << script;
    EXPECT_EQ(with_agent.err, plain.err) << script;
  }
}

TEST(AgentEnvironment, KeepsTheUsersOwnPreloadWorkingInChildren) {
  AgentJob job;
  std::string plugin = job.program("libagent_plugin.so");
  Outcome stopped = job.run({"/usr/bin/env", "LD_PRELOAD=" + plugin, job.program("agent_opener"), "/dev/null", kStop});
  ASSERT_TRUE(WIFSTOPPED(stopped.status)) << stopped.err;
  abi::LedgerProcess process = job.noted(stopped.pid);
  job.end(stopped);
  EXPECT_TRUE(names_dev_null(process, 3));
  EXPECT_TRUE(
      std::ranges::any_of(process.objects, [&](const abi::LedgerObject& object) { return object.name == plugin; }));
}

class AgentLeavesNoGap : public testing::TestWithParam<std::vector<std::string>> {};

TEST_P(AgentLeavesNoGap, BetweenTheEnvironmentAndTheAuxiliaryVector) {
  AgentJob job;
  Outcome outcome = job.run({job.program("agent_probe"), "auxv"}, GetParam());
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  Outcome child = job.run({"/usr/bin/env", job.program("agent_probe"), "auxv"}, GetParam());
  EXPECT_EQ(child.status, 0) << child.err;
}
INSTANTIATE_TEST_SUITE_P(Environments, AgentLeavesNoGap,
                         testing::Values(std::vector<std::string>{}, std::vector<std::string>{"A=1"},
                                         std::vector<std::string>{"LD_PRELOAD=/lib/x86_64-linux-gnu/libm.so.6"},
                                         std::vector<std::string>{"LD_PRELOAD=", "A=1"}));

}  // namespace
}  // namespace stint::files
