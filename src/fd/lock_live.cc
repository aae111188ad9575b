// Locks and leases, held by several descriptors and processes, and whoever waits for them; files that have no name yet;
// O_PATH; O_ASYNC.
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

struct flock range(short type, off_t start, off_t length) {
  struct flock lock = {};
  lock.l_type = type, lock.l_whence = SEEK_SET, lock.l_start = start, lock.l_len = length;
  return lock;
}

// A child that runs `body` when it is told to, and exits with what that returns.
class Child {
 public:
  template <class Prepare, class Body>
  Child(Prepare prepare, Body body) : pid_(EXPECT_OK(fork())) {
    if (pid_ == 0) {
      prepare();
      write_all(ready_.write, "x");
      read_exactly(go_.read, 1);
      _exit(body());
    }
    read_exactly(ready_.read, 1);
  }
  int finish() {
    write_all(go_.write, "x");
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    return status;
  }
  pid_t pid() const { return pid_; }

 private:
  Ends ready_ = make_pipe(), go_ = make_pipe();
  pid_t pid_;
};

LIVE_TEST(record_locks_of_a_process_and_its_child_stay_apart) {
  const Scratch scratch;
  write_whole(scratch.file("data"), std::string(100, '.'));
  const Fd file = open_file(scratch.file("data"), O_RDWR);
  struct flock mine = range(F_WRLCK, 0, 10);
  EXPECT_OK(fcntl(file, F_SETLK, &mine));
  Child child(
      [&] {
        struct flock lock = range(F_RDLCK, 20, 5);
        EXPECT_OK(fcntl(file, F_SETLK, &lock));
      },
      [&] {
        struct flock asked = range(F_WRLCK, 0, 1);
        EXPECT_OK(fcntl(file, F_GETLK, &asked));
        return asked.l_type == F_WRLCK && asked.l_pid == getppid() && asked.l_len == 10 ? 0 : 1;
      });
  freeze_point();
  struct flock asked = range(F_WRLCK, 0, 0);
  EXPECT_OK(fcntl(file, F_GETLK, &asked));
  EXPECT_EQ(asked.l_type, F_RDLCK);
  EXPECT_EQ(asked.l_pid, child.pid());
  EXPECT_EQ(asked.l_start, 20);
  EXPECT_EQ(asked.l_len, 5);
  EXPECT_EQ(child.finish(), 0);
}

LIVE_TEST(record_lock_that_a_child_waits_for_is_given_to_it) {
  const Scratch scratch;
  write_whole(scratch.file("data"), "..........");
  const Fd file = open_file(scratch.file("data"), O_RDWR);
  struct flock mine = range(F_WRLCK, 0, 0);
  EXPECT_OK(fcntl(file, F_SETLK, &mine));
  const pid_t child = EXPECT_OK(fork());
  if (child == 0) {
    struct flock wanted = range(F_WRLCK, 5, 1);
    _exit(fcntl(file, F_SETLKW, &wanted) == 0 ? 3 : 1);
  }
  sleep_for(0.05);
  freeze_point();
  EXPECT_EQ(waitpid(child, nullptr, WNOHANG), 0);
  mine = range(F_UNLCK, 0, 0);
  EXPECT_OK(fcntl(file, F_SETLK, &mine));
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

LIVE_TEST(lock_of_a_description_that_two_processes_share_and_one_waits_for) {
  const Scratch scratch;
  write_whole(scratch.file("lock"), "");
  const Fd shared = open_file(scratch.file("lock"), O_RDWR);
  const Fd other = open_file(scratch.file("lock"), O_RDWR);
  EXPECT_OK(flock(shared, LOCK_EX));
  struct flock record = range(F_WRLCK, 3, 4);
  EXPECT_OK(fcntl(shared, F_OFD_SETLK, &record));
  int locked = -1;
  BlockedThread waiter(SYS_flock, [&] { locked = flock(other, LOCK_SH); });
  Child child([] {}, [&] { return flock(shared, LOCK_UN); });
  freeze_point();
  EXPECT_EQ(locked, -1);
  struct flock asked = range(F_RDLCK, 0, 0);
  EXPECT_OK(fcntl(other, F_OFD_GETLK, &asked));
  EXPECT_EQ(asked.l_start, 3);
  EXPECT_EQ(asked.l_len, 4);
  EXPECT_EQ(child.finish(), 0);
  waiter.join();
  EXPECT_EQ(locked, 0);
}

LIVE_TEST(lease_is_held_and_its_holder_told_when_it_is_wanted) {
  const Blocked blocked({SIGRTMIN});
  const Scratch scratch;
  write_whole(scratch.file("data"), "content");
  const Fd file = open_file(scratch.file("data"), O_RDONLY);
  if (fcntl(file, F_SETLEASE, F_RDLCK) == -1) skip("this file system has no leases");
  EXPECT_OK(fcntl(file, F_SETSIG, SIGRTMIN));
  freeze_point();
  EXPECT_EQ(fcntl(file, F_GETLEASE), F_RDLCK);
  EXPECT_EQ(fcntl(file, F_GETSIG), SIGRTMIN);
  EXPECT_EQ(open(scratch.file("data").c_str(), O_WRONLY | O_NONBLOCK), -1);
  EXPECT_EQ(errno, EWOULDBLOCK);
  const sigset_t wanted = set_of({SIGRTMIN});
  siginfo_t info = {};
  EXPECT_EQ(sigwaitinfo(&wanted, &info), SIGRTMIN);
  EXPECT_EQ(info.si_fd, static_cast<int>(file));
  EXPECT_OK(fcntl(file, F_SETLEASE, F_UNLCK));
}

LIVE_TEST(file_that_has_no_name_yet_gets_one_later) {
  const Scratch scratch;
  const Fd file(open(scratch.path().c_str(), O_TMPFILE | O_RDWR, 0600));
  if (file == -1) skip("this file system has no O_TMPFILE");
  write_all(file, "written before it had a name");
  freeze_point();
  const std::string own = "/proc/self/fd/" + std::to_string(file);
  EXPECT_OK(linkat(AT_FDCWD, own.c_str(), AT_FDCWD, scratch.file("named").c_str(), AT_SYMLINK_FOLLOW));
  EXPECT_EQ(read_whole(scratch.file("named")), "written before it had a name");
}

LIVE_TEST(path_descriptors_of_every_kind_of_file) {
  const Scratch scratch;
  write_whole(scratch.file("regular"), "regular");
  EXPECT_OK(symlink("regular", scratch.file("link").c_str()));
  EXPECT_OK(mkfifo(scratch.file("fifo").c_str(), 0600));
  const Fd regular = open_file(scratch.file("regular"), O_PATH);
  const Fd link = open_file(scratch.file("link"), O_PATH | O_NOFOLLOW);
  const Fd fifo = open_file(scratch.file("fifo"), O_PATH);
  const Fd device = open_file("/dev/null", O_PATH);
  const dev_t null = stat_of(device).st_rdev;
  freeze_point();
  for (const Fd* fd : {&regular, &link, &fifo, &device}) EXPECT_TRUE((fcntl(*fd, F_GETFL) & O_PATH) != 0);
  char target[16] = {};
  EXPECT_EQ(EXPECT_OK(readlinkat(link, "", target, sizeof target)), 7);
  EXPECT_EQ(std::string(target), "regular");
  EXPECT_TRUE(S_ISFIFO(stat_of(fifo).st_mode));
  EXPECT_EQ(stat_of(device).st_rdev, null);
  EXPECT_EQ(read_whole("/proc/self/fd/" + std::to_string(regular)), "regular");
}

LIVE_TEST(signal_for_input_goes_to_the_child_that_owns_the_descriptor) {
  const Blocked blocked({SIGRTMIN + 1});
  const Ends socket = make_socketpair(SOCK_STREAM);
  Child child([] {},
              [] {
                const sigset_t wanted = set_of({SIGRTMIN + 1});
                const timespec limit = {20, 0};
                return sigtimedwait(&wanted, nullptr, &limit) == SIGRTMIN + 1 ? 0 : 1;
              });
  EXPECT_OK(fcntl(socket.read, F_SETOWN, child.pid()));
  EXPECT_OK(fcntl(socket.read, F_SETSIG, SIGRTMIN + 1));
  EXPECT_OK(fcntl(socket.read, F_SETFL, O_ASYNC));
  freeze_point();
  EXPECT_EQ(fcntl(socket.read, F_GETOWN), child.pid());
  EXPECT_TRUE((fcntl(socket.read, F_GETFL) & O_ASYNC) != 0);
  write_all(socket.write, "x");
  EXPECT_EQ(child.finish(), 0);
}

}  // namespace
}  // namespace live
