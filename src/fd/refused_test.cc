// What is not kept is refused, and the refusal names the descriptor, what it is, and what can be done.
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <fstream>
#include <sstream>

#include "fd/round_trip.h"

namespace stint::fd {
namespace {

std::vector<std::string> refusals_of(const std::function<bool()>& make) {
  StoppedProgram program(make);
  EXPECT_TRUE(program.stopped());
  Result<std::vector<Facts>> facts = look(Pid{program.pid()}, JobPid{3});
  if (!facts.has_value()) return {facts.error().text()};
  std::vector<std::vector<Facts>> processes;
  processes.push_back(std::move(*facts));
  std::vector<std::string> texts;
  for (const Error& error : refusals(processes, {}, 0)) {
    EXPECT_EQ(error.kind(), ErrorKind::kRefused) << error.text();
    texts.push_back(error.text());
  }
  return texts;
}

TEST(Refused, EveryOneIsNamedWithItsRemedy) {
  std::vector<std::string> texts = refusals_of([] {
    return ::open("/proc/self/ns/uts", O_RDONLY) == 0 && ::open("/proc/self/ns/mnt", O_RDONLY) == 1 &&
           ::socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE) == 2 && ::socket(AF_NETLINK, SOCK_RAW, 12) == 3 &&
           ::syscall(SYS_pidfd_open, ::getppid(), 0) == 4 && ::open("/dev/null", O_RDONLY) == 5;
  });
  ASSERT_EQ(texts.size(), 5u) << testing::PrintToString(texts);
  const char* words[] = {"UDP-Lite", "netlink socket of protocol 12", "not in the job", "namespace"};
  for (const char* word : words) {
    EXPECT_THAT(texts, testing::Contains(testing::AllOf(testing::HasSubstr(word), testing::HasSubstr("; close"))));
  }
  for (int fd = 0; fd < 5; ++fd)
    EXPECT_THAT(texts, testing::Contains(testing::HasSubstr(": fd " + std::to_string(fd) + " (")));
}

TEST(Refused, AWatchOfWhatTheJobNoLongerHas) {
  std::vector<std::string> texts = refusals_of([] {
    int ends[2];
    epoll_event event{};
    event.events = EPOLLIN;
    if (::epoll_create1(0) != 0 || ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return false;
    if (::epoll_ctl(0, EPOLL_CTL_ADD, ends[1], &event) != 0) return false;
    // In flight, in the queue of its own peer, it lives on.
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    char byte = 'x';
    iovec vector{&byte, 1};
    msghdr message{};
    message.msg_iov = &vector, message.msg_iovlen = 1, message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS, header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &ends[1], sizeof(int));
    return ::sendmsg(ends[1], &message, 0) == 1 && ::close(ends[1]) == 0;
  });
  EXPECT_THAT(texts, testing::Contains(testing::HasSubstr("watches what was once fd 2")));
}

TEST(Refused, ADeviceThatNobodyKnows) {
  if (::access("/dev/loop-control", R_OK) != 0) GTEST_SKIP() << "no device here that this user may open";
  EXPECT_THAT(refusals_of([] { return ::open("/dev/loop-control", O_RDONLY) == 0; }),
              testing::ElementsAre(testing::HasSubstr("this device may hold state")));
}

TEST(Kinds, AreDescribedInTheDocumentation) {
  std::ifstream file(STINT_SOURCE_DIR "/doc/what-survives.md");
  std::stringstream text;
  text << file.rdbuf();
  std::string begin = "<!-- kinds:begin -->\n", end = "<!-- kinds:end -->";
  size_t from = text.str().find(begin), to = text.str().find(end);
  ASSERT_NE(from, std::string::npos);
  ASSERT_NE(to, std::string::npos);
  from += begin.size();
  EXPECT_EQ(text.str().substr(from, to - from), describe_kinds_markdown())
      << "put into doc/what-survives.md what describe_kinds_markdown() says";
}

}  // namespace
}  // namespace stint::fd
