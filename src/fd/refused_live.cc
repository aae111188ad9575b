// What this version does not put back is refused by name, and the program that was looked at goes on untouched:
// whatever a thread was blocked in while the refused checkpoint had it stopped must still end as if nothing had been.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/un.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

LIVE_TEST(unix_listener_with_a_full_backlog_still_blocks_connect) {
  const Scratch scratch;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  scratch.file("socket").copy(address.sun_path, sizeof address.sun_path - 1);
  const sockaddr* where = reinterpret_cast<const sockaddr*>(&address);
  const Fd listener(EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  EXPECT_OK(bind(listener, where, sizeof address));
  EXPECT_OK(listen(listener, 0));
  const Fd first(EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  EXPECT_OK(connect(first, where, sizeof address));
  const Fd second(EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  int connected = -1;
  BlockedThread connector(SYS_connect, [&] { connected = connect(second, where, sizeof address); });
  freeze_point();
  const Fd accepted_first(EXPECT_OK(accept(listener, nullptr, nullptr)));
  const Fd accepted_second(EXPECT_OK(accept(listener, nullptr, nullptr)));
  connector.join();
  EXPECT_EQ(connected, 0);
}

LIVE_TEST_THAT_NEEDS(thread_under_a_seccomp_filter_is_refused, Needs::kRefusal) {
  const Ends pipe = make_pipe();
  int mode = -1;
  BlockedThread filtered(SYS_read, [&] {
    sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    const sock_fprog program = {1, &allow};
    EXPECT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    EXPECT_OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
    EXPECT_EQ(read_once(pipe.read), "x");
    mode = prctl(PR_GET_SECCOMP);
  });
  freeze_point();
  write_all(pipe.write, "x");
  filtered.join();
  EXPECT_EQ(mode, SECCOMP_MODE_FILTER);
}

LIVE_TEST_THAT_NEEDS(removed_working_directory_is_refused, Needs::kRefusal) {
  const Scratch scratch;
  const Fd before = open_file(".", O_RDONLY | O_DIRECTORY);
  EXPECT_OK(mkdir(scratch.file("gone").c_str(), 0700));
  EXPECT_OK(chdir(scratch.file("gone").c_str()));
  EXPECT_OK(rmdir(scratch.file("gone").c_str()));
  freeze_point();
  char path[256];
  EXPECT_TRUE(getcwd(path, sizeof path) == nullptr);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_OK(fchdir(before));
}

}  // namespace
}  // namespace live
