// A stop interrupts whatever system call a thread is blocked in. Each row of calls that the kernel treats in its own
// way is here: the thread must not see EINTR, must be woken by what it waits for, and must get the result of an uncut
// run.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

// What a call returned, with errno.
struct Outcome {
  long result = -2;
  int error = 0;
};

// Freezes while a thread is blocked in `call`, then wakes it by `wake`.
template <class Wait, class Wake>
Outcome freeze_while_blocked(long call, Wait wait, Wake wake) {
  Outcome outcome;
  BlockedThread thread(call, [&] {
    errno = 0;
    outcome.result = wait();
    outcome.error = errno;
  });
  freeze_point();
  // Natively it is still blocked; after a restart it may be on its way back into the call.
  wait_until_blocked(thread.tid());
  EXPECT_FALSE(thread.ended());
  wake();
  thread.join();
  return outcome;
}

#define EXPECT_RESULT(outcome, wanted)                                                                    \
  do {                                                                                                    \
    const Outcome outcome_ = (outcome);                                                                   \
    if (outcome_.result == -1) errno = outcome_.error, fail_call(__FILE__, __LINE__, "the blocked call"); \
    EXPECT_EQ(outcome_.result, wanted);                                                                   \
  } while (false)

LIVE_TEST(futex_wait_goes_on) {
  std::atomic<unsigned> word = 0;
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_futex, [&] { return futex(word, FUTEX_WAIT_PRIVATE, 0); },
                    [&] {
                      word = 1;
                      EXPECT_EQ(futex(word, FUTEX_WAKE_PRIVATE, 1), 1);
                    }),
                0);
}

LIVE_TEST(futex_wait_with_timeout_goes_on) {
  std::atomic<unsigned> word = 0;
  const timespec minute = {60, 0};
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_futex, [&] { return futex(word, FUTEX_WAIT_PRIVATE, 0, &minute); },
                    [&] {
                      word = 1;
                      EXPECT_EQ(futex(word, FUTEX_WAKE_PRIVATE, 1), 1);
                    }),
                0);
}

LIVE_TEST(futex_bitset_wait_is_woken_by_its_bit_alone) {
  std::atomic<unsigned> word = 0;
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_futex, [&] { return futex(word, FUTEX_WAIT_BITSET_PRIVATE, 0, nullptr, 4); },
                    [&] {
                      EXPECT_EQ(futex(word, FUTEX_WAKE_BITSET_PRIVATE, 1, nullptr, 2), 0);
                      EXPECT_EQ(futex(word, FUTEX_WAKE_BITSET_PRIVATE, 1, nullptr, 4), 1);
                    }),
                0);
}

LIVE_TEST(priority_inheriting_lock_goes_on) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
  pthread_mutex_t mutex;
  EXPECT_EQ(pthread_mutex_init(&mutex, &attributes), 0);
  EXPECT_EQ(pthread_mutex_lock(&mutex), 0);
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_futex,
                    [&] {
                      const int locked = pthread_mutex_lock(&mutex);
                      pthread_mutex_unlock(&mutex);
                      return locked;
                    },
                    [&] { EXPECT_EQ(pthread_mutex_unlock(&mutex), 0); }),
                0);
  pthread_mutex_destroy(&mutex);
  pthread_mutexattr_destroy(&attributes);
}

LIVE_TEST(read_of_a_pipe_goes_on) {
  const Ends pipe = make_pipe();
  char bytes[8] = {};
  EXPECT_RESULT(
      freeze_while_blocked(
          SYS_read, [&] { return read(pipe.read, bytes, sizeof bytes); }, [&] { write_all(pipe.write, "abc"); }),
      3);
  EXPECT_EQ(std::string(bytes), "abc");
}

LIVE_TEST(recv_of_a_socket_goes_on) {
  const auto [left, right] = make_socketpair(SOCK_STREAM);
  char bytes[8] = {};
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_recvfrom, [&] { return recv(left, bytes, 3, MSG_WAITALL); },
                    [&] {
                      write_all(right, "a");
                      sleep_for(0.005);
                      write_all(right, "bc");
                    }),
                3);
  EXPECT_EQ(std::string(bytes), "abc");
}

LIVE_TEST(recv_that_has_part_of_its_bytes_gets_the_rest) {
  const auto [left, right] = make_socketpair(SOCK_STREAM);
  char bytes[8] = {};
  write_all(right, "ab");
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_recvfrom, [&] { return recv(left, bytes, 4, MSG_WAITALL); }, [&] { write_all(right, "cd"); }),
                4);
  EXPECT_EQ(std::string(bytes), "abcd");
}

LIVE_TEST(recv_with_a_timeout_goes_on) {
  const auto [left, right] = make_socketpair(SOCK_STREAM);
  const timeval minute = {60, 0};
  EXPECT_OK(setsockopt(left, SOL_SOCKET, SO_RCVTIMEO, &minute, sizeof minute));
  char bytes[8] = {};
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_recvfrom, [&] { return recv(left, bytes, sizeof bytes, 0); }, [&] { write_all(right, "x"); }),
                1);
}

LIVE_TEST(write_to_a_full_pipe_writes_every_byte_once) {
  const Ends pipe = make_pipe();
  const std::string bytes = pattern(400'000);
  std::string seen;
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_write, [&] { return write(pipe.write, bytes.data(), bytes.size()); },
                    [&] { seen = read_exactly(pipe.read, bytes.size()); }),
                400'000);
  EXPECT_TRUE(seen == bytes);
}

LIVE_TEST(writev_to_a_full_pipe_writes_every_byte_once) {
  const Ends pipe = make_pipe();
  std::string first = pattern(100'000, 1);
  std::string second = pattern(100'000, 2);
  const iovec parts[] = {{first.data(), first.size()}, {second.data(), second.size()}};
  std::string seen;
  EXPECT_RESULT(
      freeze_while_blocked(
          SYS_writev, [&] { return writev(pipe.write, parts, 2); }, [&] { seen = read_exactly(pipe.read, 200'000); }),
      200'000);
  EXPECT_TRUE(seen == first + second);
}

LIVE_TEST(small_write_to_a_full_pipe_goes_on) {
  const Ends pipe = make_pipe();
  write_all(pipe.write, std::string(65536, 'f'));
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_write, [&] { return write(pipe.write, "last", 4); },
                    [&] { EXPECT_TRUE(read_exactly(pipe.read, 65536) == std::string(65536, 'f')); }),
                4);
  EXPECT_EQ(read_once(pipe.read), "last");
}

LIVE_TEST(send_to_a_full_socket_sends_every_byte_once) {
  const auto [left, right] = make_socketpair(SOCK_STREAM);
  const std::string bytes = pattern(2'000'000);
  std::string seen;
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_sendto, [&] { return send(left, bytes.data(), bytes.size(), 0); },
                    [&] { seen = read_exactly(right, bytes.size()); }),
                2'000'000);
  EXPECT_TRUE(seen == bytes);
}

LIVE_TEST(flock_between_two_descriptions_goes_on) {
  const Scratch scratch;
  write_whole(scratch.file("lock"), "");
  const Fd holder = open_file(scratch.file("lock"), O_RDWR);
  const Fd other = open_file(scratch.file("lock"), O_RDWR);
  EXPECT_OK(flock(holder, LOCK_EX));
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_flock, [&] { return flock(other, LOCK_EX); }, [&] { EXPECT_OK(flock(holder, LOCK_UN)); }),
                0);
}

LIVE_TEST(record_lock_between_two_descriptions_goes_on) {
  const Scratch scratch;
  write_whole(scratch.file("lock"), "");
  const Fd holder = open_file(scratch.file("lock"), O_RDWR);
  const Fd other = open_file(scratch.file("lock"), O_RDWR);
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  struct flock unlock = lock;
  unlock.l_type = F_UNLCK;
  EXPECT_OK(fcntl(holder, F_OFD_SETLK, &lock));
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_fcntl, [&] { return fcntl(other, F_OFD_SETLKW, &lock); },
                    [&] { EXPECT_OK(fcntl(holder, F_OFD_SETLK, &unlock)); }),
                0);
}

LIVE_TEST(read_of_an_eventfd_goes_on) {
  const Fd event(EXPECT_OK(eventfd(0, 0)));
  uint64_t count = 0;
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_read, [&] { return read(event, &count, 8); }, [&] { EXPECT_OK(eventfd_write(event, 9)); }),
                8);
  EXPECT_EQ(count, 9UL);
}

LIVE_TEST(write_to_a_full_eventfd_goes_on) {
  const Fd event(EXPECT_OK(eventfd(0, 0)));
  EXPECT_OK(eventfd_write(event, UINT64_MAX - 1));
  const uint64_t three = 3;
  uint64_t count = 0;
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_write, [&] { return write(event, &three, 8); }, [&] { EXPECT_EQ(read(event, &count, 8), 8); }),
                8);
  EXPECT_EQ(count, UINT64_MAX - 1);
  EXPECT_EQ(read(event, &count, 8), 8);
  EXPECT_EQ(count, 3UL);
}

LIVE_TEST(read_of_a_timerfd_goes_on) {
  const Fd timer(EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, 0)));
  uint64_t count = 0;
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_read, [&] { return read(timer, &count, 8); },
                    [&] {
                      const itimerspec soon = {{0, 0}, {0, 1000}};
                      EXPECT_OK(timerfd_settime(timer, 0, &soon, nullptr));
                    }),
                8);
  EXPECT_EQ(count, 1UL);
}

LIVE_TEST(read_of_a_signalfd_goes_on) {
  const Blocked blocked({SIGUSR1});
  const sigset_t set = set_of({SIGUSR1});
  const Fd signals(EXPECT_OK(signalfd(-1, &set, 0)));
  signalfd_siginfo info = {};
  EXPECT_RESULT(
      freeze_while_blocked(
          SYS_read, [&] { return read(signals, &info, sizeof info); }, [&] { EXPECT_OK(kill(getpid(), SIGUSR1)); }),
      128);
  EXPECT_EQ(info.ssi_signo, static_cast<uint32_t>(SIGUSR1));
}

LIVE_TEST(pause_ends_with_a_signal_and_not_before) {
  static std::atomic<int> handled;
  handled = 0;
  const Handler handler(SIGUSR1, [](int, siginfo_t*, void*) { ++handled; });
  const Blocked blocked({SIGUSR1});
  pthread_t thread = {};
  const Outcome outcome = freeze_while_blocked(
      SYS_pause,
      [&] {
        thread = pthread_self();
        const sigset_t set = set_of({SIGUSR1});
        pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
        return pause();
      },
      [&] { EXPECT_EQ(pthread_kill(thread, SIGUSR1), 0); });
  EXPECT_EQ(outcome.result, -1);
  EXPECT_EQ(outcome.error, EINTR);
  EXPECT_EQ(handled.load(), 1);
}

LIVE_TEST(sigsuspend_ends_with_its_signal_and_puts_the_mask_back) {
  static std::atomic<int> handled;
  handled = 0;
  const Handler first(SIGUSR1, [](int, siginfo_t*, void*) { handled += 1; });
  const Handler second(SIGUSR2, [](int, siginfo_t*, void*) { handled += 100; });
  const Blocked blocked({SIGUSR1, SIGUSR2});
  pthread_t thread = {};
  sigset_t mask_after;
  const Outcome outcome = freeze_while_blocked(
      SYS_rt_sigsuspend,
      [&] {
        thread = pthread_self();
        const sigset_t only = set_of({SIGUSR2});
        const int result = sigsuspend(&only);
        const int error = errno;
        pthread_sigmask(SIG_SETMASK, nullptr, &mask_after);
        errno = error;
        return result;
      },
      [&] {
        EXPECT_EQ(pthread_kill(thread, SIGUSR2), 0);
        sleep_for(0.005);
        EXPECT_EQ(pthread_kill(thread, SIGUSR1), 0);
      });
  EXPECT_EQ(outcome.result, -1);
  EXPECT_EQ(outcome.error, EINTR);
  EXPECT_EQ(handled.load(), 1);
  EXPECT_EQ(sigismember(&mask_after, SIGUSR1), 1);
  EXPECT_EQ(sigismember(&mask_after, SIGUSR2), 1);
}

// The ways to wait until a descriptor can be read; each returns 1 when it can.
template <class Wait>
void expect_readiness_wakes(long call, Wait wait) {
  const Ends pipe = make_pipe();
  EXPECT_RESULT(freeze_while_blocked(call, [&] { return wait(pipe.read); }, [&] { write_all(pipe.write, "x"); }), 1);
}

const timespec kMinute = {60, 0};

fd_set set_with(int fd) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fd, &set);
  return set;
}

LIVE_TEST(select_without_timeout_goes_on) {
  expect_readiness_wakes(SYS_select, [](int fd) {
    fd_set set = set_with(fd);
    return syscall(SYS_select, fd + 1, &set, nullptr, nullptr, nullptr);
  });
}

LIVE_TEST(select_with_timeout_goes_on) {
  timeval left = {60, 0};
  expect_readiness_wakes(SYS_select, [&](int fd) {
    fd_set set = set_with(fd);
    return syscall(SYS_select, fd + 1, &set, nullptr, nullptr, &left);
  });
  EXPECT_LE(left.tv_sec, 60);
  EXPECT_GT(left.tv_sec, 30);
}

LIVE_TEST(pselect_with_timeout_and_mask_goes_on) {
  const sigset_t mask = set_of({SIGUSR1});
  expect_readiness_wakes(SYS_pselect6, [&](int fd) {
    fd_set set = set_with(fd);
    return pselect(fd + 1, &set, nullptr, nullptr, &kMinute, &mask);
  });
}

LIVE_TEST(poll_without_timeout_goes_on) {
  expect_readiness_wakes(SYS_poll, [](int fd) {
    pollfd events = {fd, POLLIN, 0};
    return poll(&events, 1, -1);
  });
}

LIVE_TEST(poll_with_timeout_goes_on) {
  expect_readiness_wakes(SYS_poll, [](int fd) {
    pollfd events = {fd, POLLIN, 0};
    return poll(&events, 1, 60'000);
  });
}

LIVE_TEST(ppoll_with_timeout_goes_on) {
  expect_readiness_wakes(SYS_ppoll, [](int fd) {
    pollfd events = {fd, POLLIN, 0};
    return ppoll(&events, 1, &kMinute, nullptr);
  });
}

int epoll_for(int fd) {
  const int epoll = EXPECT_OK(epoll_create1(0));
  epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
  EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
  return epoll;
}

LIVE_TEST(epoll_wait_without_timeout_goes_on) {
  expect_readiness_wakes(SYS_epoll_wait, [](int fd) {
    const Fd epoll(epoll_for(fd));
    epoll_event event;
    return epoll_wait(epoll, &event, 1, -1);
  });
}

LIVE_TEST(epoll_wait_with_timeout_goes_on) {
  expect_readiness_wakes(SYS_epoll_wait, [](int fd) {
    const Fd epoll(epoll_for(fd));
    epoll_event event;
    return epoll_wait(epoll, &event, 1, 60'000);
  });
}

LIVE_TEST(epoll_pwait2_with_timeout_goes_on) {
  expect_readiness_wakes(SYS_epoll_pwait2, [](int fd) {
    const Fd epoll(epoll_for(fd));
    epoll_event event;
    return syscall(SYS_epoll_pwait2, static_cast<int>(epoll), &event, 1, &kMinute, nullptr, 0);
  });
}

LIVE_TEST(sigwaitinfo_goes_on) {
  const Blocked blocked({SIGUSR1});
  const sigset_t set = set_of({SIGUSR1});
  EXPECT_RESULT(
      freeze_while_blocked(
          SYS_rt_sigtimedwait, [&] { return sigwaitinfo(&set, nullptr); }, [&] { EXPECT_OK(kill(getpid(), SIGUSR1)); }),
      SIGUSR1);
}

LIVE_TEST(sigtimedwait_goes_on) {
  const Blocked blocked({SIGUSR1});
  const sigset_t set = set_of({SIGUSR1});
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_rt_sigtimedwait, [&] { return sigtimedwait(&set, nullptr, &kMinute); },
                    [&] { EXPECT_OK(kill(getpid(), SIGUSR1)); }),
                SIGUSR1);
}

LIVE_TEST(system_v_message_queue_wakes_its_receiver) {
  const int queue = EXPECT_OK(msgget(IPC_PRIVATE, 0600));
  struct {
    long type;
    char text[8];
  } message = {};
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_msgrcv, [&] { return msgrcv(queue, &message, sizeof message.text, 0, 0); },
                    [&] {
                      const struct {
                        long type;
                        char text[8];
                      } sent = {1, "message"};
                      EXPECT_OK(msgsnd(queue, &sent, sizeof sent.text, 0));
                    }),
                8);
  EXPECT_EQ(std::string(message.text), "message");
  EXPECT_OK(msgctl(queue, IPC_RMID, nullptr));
}

LIVE_TEST(system_v_semaphore_wakes_its_waiter) {
  const int semaphore = EXPECT_OK(semget(IPC_PRIVATE, 1, 0600));
  EXPECT_RESULT(freeze_while_blocked(
                    SYS_semop,
                    [&] {
                      sembuf down = {0, -1, 0};
                      return syscall(SYS_semop, semaphore, &down, 1);
                    },
                    [&] {
                      sembuf up = {0, 1, 0};
                      EXPECT_OK(semop(semaphore, &up, 1));
                    }),
                0);
  EXPECT_OK(semctl(semaphore, 0, IPC_RMID));
}

}  // namespace
}  // namespace live
