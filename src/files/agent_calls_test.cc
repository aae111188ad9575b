// What the agent notes of a program's own calls, read back from the ledger.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <random>

#include "abi/runner.h"
#include "files/agent_job.h"

namespace stint::files {
namespace {

using testing::Contains;
using testing::EndsWith;
using testing::Field;

std::string canonical(const std::string& path) {
  char* resolved = realpath(path.c_str(), nullptr);
  std::string result = resolved == nullptr ? path : resolved;
  free(resolved);
  return result;
}

TEST(AgentCalls, NotesFilesAsTheProgramAskedForThem) {
  AgentJob job;
  Outcome outcome = job.run({job.program("agent_probe"), "names", "/dev/../dev/null"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  abi::LedgerProcess process = job.noted(outcome.pid);
  for (int fd : {3, 4, 6, 7}) EXPECT_EQ(process.descriptors[fd].name, "/dev/../dev/null") << fd;
  EXPECT_EQ(process.descriptors[5].name, ".");
  EXPECT_EQ(process.descriptors[5].path(), canonical(job.directory()) + "/.");
  EXPECT_EQ(process.descriptors[6].directory_fd, 5);
  EXPECT_EQ(process.descriptors[8].path(), canonical(job.directory()) + "/made");
  EXPECT_EQ(process.descriptors[8].flags, uint32_t{O_CREAT | O_WRONLY | O_TRUNC});
  EXPECT_EQ(process.descriptors.size(), 6u);
}

TEST(AgentCalls, NotesWhatADuplicateIsADuplicateOf) {
  AgentJob job;
  Outcome outcome = job.run({job.program("agent_probe"), "duplicates", "/dev/null"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  abi::LedgerProcess process = job.noted(outcome.pid);
  EXPECT_EQ(process.descriptors[3].dup_of, -1);
  EXPECT_EQ(process.descriptors[4].dup_of, 3);
  EXPECT_EQ(process.descriptors[20].dup_of, 4);
  EXPECT_EQ(process.descriptors[21].dup_of, 20);
  EXPECT_EQ(process.descriptors[30].dup_of, 21);
  EXPECT_EQ(process.descriptors[31].dup_of, 3);
  for (int fd : {3, 4, 20, 21, 30, 31}) EXPECT_EQ(process.descriptors[fd].name, "/dev/null") << fd;
  EXPECT_EQ(process.descriptors[40].name, "");
  EXPECT_GE(process.descriptors[40].dup_of, 0);
}

class AgentReaches : public testing::TestWithParam<const char*> {};

TEST_P(AgentReaches, ProgramsOfThisKind) {
  AgentJob job;
  if (access(job.program(GetParam()).c_str(), X_OK) != 0) GTEST_SKIP() << GetParam() << " could not be built here";
  Outcome outcome = job.run({job.program(GetParam()), "/dev/null"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  abi::LedgerProcess process = job.noted(outcome.pid);
  EXPECT_EQ(process.descriptors[3].name, "/dev/null");
  EXPECT_NE(process.areas.runner, 0u);
  EXPECT_GE(process.areas.scratch_size, uint64_t{256} << 10);
}
INSTANTIATE_TEST_SUITE_P(Kinds, AgentReaches,
                         testing::Values("agent_opener", "agent_opener_now", "agent_opener_no_plt",
                                         "agent_opener_fixed", "agent_opener_musl"));

TEST(AgentCalls, LeavesAStaticProgramAlone) {
  AgentJob job;
  Outcome outcome = job.run({job.program("agent_opener_static"), "/dev/null"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.err, "");
  EXPECT_EQ(job.ledger().find(outcome.pid), nullptr);
}

TEST(AgentCalls, MakesNoLinkerOf32BitsComplain) {
  AgentJob job;
  std::string program = job.program("agent_foreign32");
  if (access(program.c_str(), X_OK) != 0) GTEST_SKIP() << "no 32-bit C library here";
  pid_t alone = 0;
  char* arguments[] = {program.data(), nullptr};
  if (posix_spawn(&alone, program.c_str(), nullptr, nullptr, arguments, arguments + 1) == ENOEXEC)
    GTEST_SKIP() << "this kernel runs no 32-bit programs";
  waitpid(alone, nullptr, 0);
  Outcome outcome = job.run({program});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.out, "32 bits\n");
  EXPECT_EQ(outcome.err, "");
}

TEST(AgentCalls, IsReadyBeforeTheFirstConstructor) {
  AgentJob job;
  Outcome outcome = job.run({job.program("agent_early")});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  abi::LedgerProcess process = job.noted(outcome.pid);
  EXPECT_EQ(process.descriptors[3].name, "preinit");
  EXPECT_EQ(process.descriptors[4].name, "library-constructor");
  EXPECT_EQ(process.descriptors[5].name, "constructor");
}

TEST(AgentCalls, IsReadyBeforeTheFirstConstructorWithoutTheAuditInterface) {
  AgentJob job;
  std::vector<std::string> environment = build_environment({}, job.paths(), job.ledger_path());
  std::erase_if(environment, [](const std::string& variable) { return variable.starts_with("LD_AUDIT="); });
  Outcome outcome = job.run_plainly({job.program("agent_early")}, environment);
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(job.noted(outcome.pid).descriptors[3].name, "preinit");
  EXPECT_EQ(job.noted(outcome.pid).descriptors[4].name, "library-constructor");
}

TEST(AgentCalls, KnowsTheObjectsThatAreMapped) {
  AgentJob job;
  Outcome stopped = job.run({job.program("agent_opener"), "/dev/null", fmt::format("{}", SIGSTOP)});
  ASSERT_TRUE(WIFSTOPPED(stopped.status)) << stopped.err;
  std::vector<abi::LedgerObject> objects = job.noted(stopped.pid).objects;
  job.end(stopped);
  EXPECT_THAT(objects, Contains(Field(&abi::LedgerObject::name, "")));
  EXPECT_THAT(objects, Contains(Field(&abi::LedgerObject::name, EndsWith("/libstint-preload.so"))));
  EXPECT_THAT(objects, Contains(Field(&abi::LedgerObject::name, EndsWith("/libc.so.6"))));
}

TEST(AgentCalls, FollowsAPluginThatIsLoadedAndOneThatIsUnloaded) {
  AgentJob job;
  ASSERT_TRUE(sys::symlink(job.program("libagent_plugin.so"), job.path("plugin.so")).has_value());
  for (const char* how : {"plugin", "plugin-deepbind"}) {
    Outcome kept = job.run({job.program("agent_probe"), how, "./plugin.so", "/dev/null"});
    ASSERT_TRUE(WIFSTOPPED(kept.status)) << kept.err;
    abi::LedgerProcess process = job.noted(kept.pid);
    job.end(kept);
    EXPECT_EQ(process.descriptors[3].name, "/dev/null") << how;
    EXPECT_EQ(process.objects.back().name, "./plugin.so") << how;
    EXPECT_EQ(process.objects.back().directory, canonical(job.directory()));
    EXPECT_NE(process.objects.back().load_address, 0u);

    Outcome closed = job.run({job.program("agent_probe"), how, "./plugin.so", "/dev/null", "close"});
    ASSERT_TRUE(WIFSTOPPED(closed.status)) << closed.err;
    std::vector<abi::LedgerObject> objects = job.noted(closed.pid).objects;
    job.end(closed);
    EXPECT_THAT(objects, Not(Contains(Field(&abi::LedgerObject::name, "./plugin.so")))) << how;
    EXPECT_EQ(objects.size(), process.objects.size() - 1) << how;
  }
}

TEST(AgentCalls, SeesCallsThroughPointersAndDlsym) {
  AgentJob job;
  Outcome outcome = job.run({job.program("agent_probe"), "dlsym", "/dev/null"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  for (int fd : {3, 4, 5}) EXPECT_EQ(job.noted(outcome.pid).descriptors[fd].name, "/dev/null") << fd;
}

TEST(AgentCalls, NotesTheRightNameForEachOfManyThreadsDescriptors) {
  AgentJob job;
  Outcome outcome = job.run({job.program("agent_probe"), "threads"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  std::map<int, abi::LedgerDescriptor> descriptors = job.noted(outcome.pid).descriptors;
  EXPECT_EQ(descriptors.size(), 400u);
  std::string noted;
  for (const auto& [fd, descriptor] : descriptors) noted += fmt::format("{} {}\n", fd, descriptor.name);
  EXPECT_EQ(noted, outcome.out);
}

TEST(AgentCalls, LosesNothingHoweverOftenAProgramOpensFiles) {
  AgentJob job;
  Outcome outcome = job.run({job.program("agent_probe"), "many", "/dev/zero"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(job.ledger().lost, 0u);
  EXPECT_EQ(job.noted(outcome.pid).descriptors[3].name, "/dev/zero");
  EXPECT_EQ(job.noted(outcome.pid).descriptors[4].name, std::string(200, '/') + "dev/null");
}

TEST(AgentCalls, LosesNothingHoweverManyProcessesAJobHasHad) {
  AgentJob job;
  Outcome outcome = job.run({"/bin/sh", "-c", "i=0; while [ $i -lt 1200 ]; do (:) ; i=$((i+1)); done"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  Outcome last = job.run({job.program("agent_opener"), "/dev/null"});
  EXPECT_EQ(job.ledger().lost, 0u);
  EXPECT_EQ(job.noted(last.pid).descriptors[3].name, "/dev/null");
}

TEST(AgentCalls, KeepsItsNotesWhenTheProgramIsKilled) {
  AgentJob job;
  Outcome outcome = job.run({job.program("agent_probe"), "killed", "/dev/null"});
  ASSERT_TRUE(WIFSIGNALED(outcome.status) && WTERMSIG(outcome.status) == SIGKILL) << outcome.status;
  std::map<int, abi::LedgerDescriptor> descriptors = job.noted(outcome.pid).descriptors;
  ASSERT_EQ(descriptors.size(), 100u);
  for (const auto& [fd, descriptor] : descriptors) EXPECT_EQ(descriptor.name, "/dev/null") << fd;
}

TEST(AgentCalls, LeavesOnlyWholeNamesBehindWhereverAProgramIsCutOff) {
  unsigned seed = std::random_device()();
  std::mt19937 random(seed);
  std::string longest = std::string(50, '/') + "dev/null";
  for (int turn = 0; turn < 20; ++turn) {
    AgentJob job;
    std::string microseconds = fmt::format("{}", 1000 + random() % 20000);
    Outcome outcome = job.run({job.program("agent_probe"), "cut-off", microseconds});
    ASSERT_TRUE(WIFSIGNALED(outcome.status) && WTERMSIG(outcome.status) == SIGALRM) << outcome.err;
    EXPECT_EQ(job.ledger().lost, 0u);
    for (const auto& [fd, descriptor] : job.noted(outcome.pid).descriptors) {
      bool whole =
          descriptor.name.empty() || (descriptor.name.ends_with("/dev/null") && longest.ends_with(descriptor.name));
      EXPECT_TRUE(whole) << "seed " << seed << " turn " << turn << " fd " << fd << ": " << descriptor.name;
    }
  }
}

TEST(AgentCalls, PublishesAreasThatAreThere) {
  AgentJob job;
  Outcome stopped = job.run({job.program("agent_opener"), "/dev/null", fmt::format("{}", SIGSTOP)});
  ASSERT_TRUE(WIFSTOPPED(stopped.status)) << stopped.err;
  abi::LedgerAreas areas = job.noted(stopped.pid).areas;
  sys::UniqueFd memory = sys::open(fmt::format("/proc/{}/mem", stopped.pid), O_RDONLY).value();

  uint64_t proof = 0;
  EXPECT_TRUE(sys::pread_all(memory.get(), std::as_writable_bytes(std::span(&proof, 1)), areas.proof_address));
  EXPECT_EQ(proof, areas.proof_value);
  Bytes runner(abi::stint_runner_end - abi::stint_runner_start);
  EXPECT_TRUE(sys::pread_all(memory.get(), runner, areas.runner));
  EXPECT_EQ(text_of(runner), text_of({reinterpret_cast<const std::byte*>(abi::stint_runner_start), runner.size()}));
  Bytes scratch(areas.scratch_size);
  EXPECT_TRUE(sys::pread_all(memory.get(), scratch, areas.scratch));
  EXPECT_EQ(scratch, Bytes(areas.scratch_size));
  job.end(stopped);
}

}  // namespace
}  // namespace stint::files
