#include "files/agent_install.h"

#include <sys/stat.h>

#include <algorithm>

#include "agent/embedded.h"
#include "files/agent_job.h"

namespace stint::files {
namespace {

TEST(AgentInstall, LaysTheLibrariesOutForTheOwnerAlone) {
  AgentJob job;
  std::string directory = job.path("state/agent/") + agent::embedded_agent().hash;
  EXPECT_EQ(job.paths().preload, directory + "/$PLATFORM/libstint-preload.so");
  EXPECT_EQ(sys::stat(directory).value().st_mode & 07777, 0700u);
  EXPECT_TRUE(std::ranges::equal(sys::read_file(directory + "/haswell/libstint-audit.so").value(),
                                 agent::embedded_agent().audit));
  EXPECT_EQ(sys::stat(job.ledger_path()).value().st_mode & 07777, 0600u);
}

TEST(AgentInstall, LeavesWhatIsRightAndPutsRightWhatIsNot) {
  AgentJob job;
  std::string preload = job.path("state/agent/") + agent::embedded_agent().hash + "/x86_64/libstint-preload.so";
  ino_t before = sys::stat(preload).value().st_ino;
  ASSERT_TRUE(install_agent(job.path("state")).has_value());
  EXPECT_EQ(sys::stat(preload).value().st_ino, before);

  ASSERT_TRUE(sys::write_all(sys::open(preload, O_WRONLY).value().get(), bytes_of("damaged")).has_value());
  ASSERT_TRUE(install_agent(job.path("state")).has_value());
  EXPECT_TRUE(std::ranges::equal(sys::read_file(preload).value(), agent::embedded_agent().preload));
}

TEST(AgentInstall, RefusesAPathThatTheLinkerCouldNotTakeInAList) {
  for (const char* path : {"/tmp/a:b", "/tmp/a b", "/tmp/$LIB"}) {
    Result<AgentPaths> refused = install_agent(path);
    ASSERT_FALSE(refused.has_value()) << path;
    EXPECT_EQ(refused.error().kind(), ErrorKind::kUsage);
  }
}

TEST(AgentInstall, KeepsTheUsersOwnValuesInFrontAndDropsAnOuterStints) {
  AgentPaths agent{.preload = "/s/$PLATFORM/libstint-preload.so", .audit = "/s/$PLATFORM/libstint-audit.so"};
  const std::string tunables = "GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096";
  EXPECT_EQ(build_environment(
                {"A=1", "LD_PRELOAD=/x.so:/outer/libstint-preload.so", "STINT_LEDGER=5:/outer", "B=2", tunables}, agent,
                "/job/ledger"),
            (std::vector<std::string>{"A=1", "LD_PRELOAD=/x.so:/s/$PLATFORM/libstint-preload.so", "B=2",
                                      "LD_AUDIT=/s/$PLATFORM/libstint-audit.so", tunables, "STINT_LEDGER=0:/job/ledger",
                                      "STINT_PAD="}));
  EXPECT_EQ(build_environment({"LD_PRELOAD=/outer/libstint-preload.so"}, agent, "/l"),
            (std::vector<std::string>{"LD_PRELOAD=/s/$PLATFORM/libstint-preload.so",
                                      "LD_AUDIT=/s/$PLATFORM/libstint-audit.so", tunables, "STINT_LEDGER=0:/l"}));
}

TEST(AgentInstall, LeavesRoomForStaticThreadLocalStorageAsTheUserWantsIt) {
  AgentPaths agent{.preload = "/p", .audit = "/a"};
  const std::string set = "GLIBC_TUNABLES=glibc.rtld.optional_static_tls=900:glibc.malloc.check=0";
  EXPECT_EQ(build_environment({set}, agent, "/l"),
            (std::vector<std::string>{set, "LD_PRELOAD=/p", "LD_AUDIT=/a", "STINT_LEDGER=0:/l", "STINT_PAD="}));
  EXPECT_EQ(build_environment({"GLIBC_TUNABLES=glibc.malloc.check=0"}, agent, "/l")[0],
            "GLIBC_TUNABLES=glibc.malloc.check=0:glibc.rtld.optional_static_tls=4096");
}

}  // namespace
}  // namespace stint::files
