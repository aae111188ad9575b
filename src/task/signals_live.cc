// Signals: dispositions, masks, what is pending and queued and with which values, alternate stacks, handlers within
// handlers.
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include <vector>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

volatile sig_atomic_t handled = 0;
volatile sig_atomic_t last_value = 0;

void count(int, siginfo_t* info, void*) {
  handled = handled + 1;
  last_value = info->si_value.sival_int;
}

struct sigaction action_of(int signal) {
  struct sigaction action;
  EXPECT_OK(sigaction(signal, nullptr, &action));
  return action;
}

bool contains(const sigset_t& set, int signal) { return sigismember(&set, signal) == 1; }

sigset_t pending() {
  sigset_t set;
  EXPECT_OK(sigpending(&set));
  return set;
}

LIVE_TEST(signal_handlers_keep_function_flags_and_mask) {
  const Handler first(SIGUSR1, count, SA_RESTART | SA_NODEFER, {SIGUSR2, SIGHUP});
  const Handler second(SIGRTMIN + 3, count, SA_ONSTACK);
  freeze_point();
  const struct sigaction kept = action_of(SIGUSR1);
  EXPECT_TRUE(kept.sa_sigaction == count);
  EXPECT_EQ(kept.sa_flags & (SA_RESTART | SA_NODEFER | SA_SIGINFO | SA_ONSTACK), SA_RESTART | SA_NODEFER | SA_SIGINFO);
  EXPECT_TRUE(contains(kept.sa_mask, SIGUSR2) && contains(kept.sa_mask, SIGHUP));
  EXPECT_FALSE(contains(kept.sa_mask, SIGTERM));
  EXPECT_TRUE((action_of(SIGRTMIN + 3).sa_flags & SA_ONSTACK) != 0);
  handled = 0;
  EXPECT_OK(raise(SIGUSR1));
  EXPECT_OK(raise(SIGRTMIN + 3));
  EXPECT_EQ(handled, 2);
}

LIVE_TEST(handler_for_once_is_gone_after_its_signal) {
  const Handler once(SIGUSR1, count, static_cast<int>(SA_RESETHAND));
  freeze_point();
  handled = 0;
  EXPECT_OK(raise(SIGUSR1));
  EXPECT_EQ(handled, 1);
  EXPECT_TRUE(action_of(SIGUSR1).sa_handler == SIG_DFL);
}

LIVE_TEST(ignored_signals_stay_ignored_and_defaults_default) {
  struct sigaction before_hangup = action_of(SIGHUP);
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  EXPECT_OK(sigaction(SIGHUP, &ignore, nullptr));
  std::string before;
  std::string after;
  auto dispositions = [](std::string& text) {
    for (int number = 1; number < NSIG; ++number) {
      struct sigaction action;
      if (sigaction(number, nullptr, &action) != 0) continue;
      text += action.sa_handler == SIG_DFL ? 'd' : action.sa_handler == SIG_IGN ? 'i' : 'h';
    }
  };
  dispositions(before);
  freeze_point();
  dispositions(after);
  EXPECT_EQ(after, before);
  EXPECT_OK(raise(SIGHUP));
  EXPECT_OK(sigaction(SIGHUP, &before_hangup, nullptr));
}

LIVE_TEST(every_thread_keeps_its_own_signal_mask) {
  const Blocked blocked({SIGUSR1, SIGRTMAX});
  const Ends pipe = make_pipe();
  sigset_t in_thread;
  BlockedThread thread(SYS_read, [&] {
    const Blocked more({SIGWINCH});
    read_once(pipe.read);
    pthread_sigmask(SIG_SETMASK, nullptr, &in_thread);
  });
  freeze_point();
  write_all(pipe.write, "x");
  thread.join();
  sigset_t here;
  pthread_sigmask(SIG_SETMASK, nullptr, &here);
  EXPECT_TRUE(contains(here, SIGUSR1) && contains(here, SIGRTMAX) && !contains(here, SIGWINCH));
  EXPECT_TRUE(contains(in_thread, SIGUSR1) && contains(in_thread, SIGRTMAX) && contains(in_thread, SIGWINCH));
}

LIVE_TEST(blocked_signal_stays_pending_until_it_is_let_in) {
  const Handler handler(SIGUSR1, count);
  handled = 0;
  {
    const Blocked blocked({SIGUSR1});
    EXPECT_OK(kill(getpid(), SIGUSR1));
    freeze_point();
    EXPECT_TRUE(contains(pending(), SIGUSR1));
    EXPECT_EQ(handled, 0);
  }
  EXPECT_EQ(handled, 1);
}

LIVE_TEST(queued_signals_keep_their_values_and_order) {
  const int signal = SIGRTMIN + 1;
  const Blocked blocked({signal, SIGRTMIN});
  int place;
  for (int i = 0; i < 20; ++i) EXPECT_OK(sigqueue(getpid(), signal, {.sival_int = 100 + i}));
  EXPECT_OK(sigqueue(getpid(), SIGRTMIN, {.sival_ptr = &place}));
  freeze_point();
  const sigset_t set = set_of({signal, SIGRTMIN});
  siginfo_t info;
  EXPECT_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
  EXPECT_TRUE(info.si_value.sival_ptr == &place);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(sigwaitinfo(&set, &info), signal);
    EXPECT_EQ(info.si_value.sival_int, 100 + i);
    EXPECT_EQ(info.si_code, static_cast<int>(SI_QUEUE));
    EXPECT_EQ(info.si_pid, getpid());
    EXPECT_EQ(info.si_uid, getuid());
  }
  EXPECT_FALSE(contains(pending(), signal));
}

LIVE_TEST(signal_queued_for_one_thread_reaches_that_thread) {
  const int signal = SIGRTMIN + 2;
  const Blocked blocked({signal});
  std::atomic<unsigned> go = 0;
  int value = 0;
  BlockedThread thread(SYS_futex, [&] {
    while (go == 0) futex(go, FUTEX_WAIT_PRIVATE, 0);
    const sigset_t set = set_of({signal});
    const timespec none = {};
    siginfo_t info = {};
    EXPECT_EQ(sigtimedwait(&set, &info, &none), signal);
    value = info.si_value.sival_int;
  });
  EXPECT_EQ(pthread_sigqueue(thread.handle(), signal, {.sival_int = 77}), 0);
  freeze_point();
  EXPECT_FALSE(contains(pending(), signal));
  go = 1;
  futex(go, FUTEX_WAKE_PRIVATE, 1);
  thread.join();
  EXPECT_EQ(value, 77);
}

LIVE_TEST(signal_by_tgkill_keeps_its_code) {
  const Blocked blocked({SIGUSR2});
  EXPECT_OK(raise(SIGUSR2));
  freeze_point();
  const sigset_t set = set_of({SIGUSR2});
  siginfo_t info = {};
  // The C library would show SI_USER.
  EXPECT_EQ(syscall(SYS_rt_sigtimedwait, &set, &info, nullptr, 8), SIGUSR2);
  EXPECT_EQ(info.si_code, static_cast<int>(SI_TKILL));
  EXPECT_EQ(info.si_pid, getpid());
}

// An alternate stack for this thread for as long as the object lives.
class AlternateStack {
 public:
  AlternateStack() : memory_(64 * 1024) {
    const stack_t stack = {memory_.data(), 0, memory_.size()};
    EXPECT_OK(sigaltstack(&stack, &before_));
  }
  ~AlternateStack() { sigaltstack(&before_, nullptr); }
  bool holds(const void* address) const {
    return address >= memory_.data() && address < memory_.data() + memory_.size();
  }
  const void* start() const { return memory_.data(); }

 private:
  std::vector<char> memory_;
  stack_t before_;
};

const AlternateStack* alternate = nullptr;

LIVE_TEST(alternate_stack_is_kept_and_used) {
  const AlternateStack stack;
  alternate = &stack;
  const Handler handler(
      SIGUSR1,
      [](int, siginfo_t*, void*) {
        const char here = 0;
        handled = alternate->holds(&here) ? 1 : 2;
      },
      SA_ONSTACK);
  freeze_point();
  stack_t now;
  EXPECT_OK(sigaltstack(nullptr, &now));
  EXPECT_TRUE(now.ss_sp == stack.start());
  EXPECT_EQ(now.ss_size, 65536UL);
  EXPECT_EQ(now.ss_flags, 0);
  handled = 0;
  EXPECT_OK(raise(SIGUSR1));
  EXPECT_EQ(handled, 1);
}

LIVE_TEST(every_thread_keeps_its_own_alternate_stack) {
  const Ends pipe = make_pipe();
  bool kept = false;
  BlockedThread thread(SYS_read, [&] {
    const AlternateStack stack;
    read_once(pipe.read);
    stack_t now;
    EXPECT_OK(sigaltstack(nullptr, &now));
    kept = now.ss_sp == stack.start() && now.ss_size == 65536;
  });
  freeze_point();
  stack_t here;
  EXPECT_OK(sigaltstack(nullptr, &here));
  EXPECT_EQ(here.ss_flags, SS_DISABLE);
  write_all(pipe.write, "x");
  thread.join();
  EXPECT_TRUE(kept);
}

LIVE_TEST(frozen_within_a_handler_on_the_alternate_stack) {
  const AlternateStack stack;
  const Handler handler(SIGUSR1,
                        [](int, siginfo_t* info, void*) {
                          const int value = info->si_value.sival_int;
                          freeze_point();
                          stack_t now;
                          EXPECT_OK(sigaltstack(nullptr, &now));
                          EXPECT_EQ(now.ss_flags, SS_ONSTACK);
                          sigset_t mask;
                          pthread_sigmask(SIG_SETMASK, nullptr, &mask);
                          EXPECT_TRUE(contains(mask, SIGUSR1) && contains(mask, SIGUSR2));
                          EXPECT_EQ(info->si_value.sival_int, value);
                          last_value = value;
                        },
                        SA_ONSTACK, {SIGUSR2});
  EXPECT_OK(sigqueue(getpid(), SIGUSR1, {.sival_int = 55}));
  EXPECT_EQ(last_value, 55);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_FALSE(contains(mask, SIGUSR1));
  last_value = 0;
}

LIVE_TEST(frozen_within_a_handler_within_a_handler) {
  static std::string order;
  order.clear();
  const Handler outer(SIGUSR1, [](int, siginfo_t*, void*) {
    order += "(1 ";
    raise(SIGUSR2);
    order += "1)";
  });
  const Handler inner(SIGUSR2, [](int, siginfo_t*, void*) {
    order += "(2 ";
    freeze_point();
    order += "2)";
  });
  EXPECT_OK(raise(SIGUSR1));
  EXPECT_EQ(order, "(1 (2 2)1)");
}

LIVE_TEST(floating_point_state_in_a_signal_frame_is_restored) {
  // The frame on the stack holds the interrupted registers; sigreturn must take them as they are.
  const Handler handler(SIGUSR1, [](int, siginfo_t*, void*) {
    volatile double other = 1;
    for (int i = 0; i < 1000; ++i) other = other * 1.0001;
    freeze_point();
  });
  const std::string in = pattern(16);
  std::string out(16, '\0');
  const pid_t pid = getpid();
  const pid_t tid = gettid();
  asm volatile("movdqu (%[in]), %%xmm13\n syscall\n movdqu %%xmm13, (%[out])"
               :
               : "a"(SYS_tgkill), "D"(pid), "S"(tid), "d"(SIGUSR1), [in] "r"(in.data()), [out] "r"(out.data())
               : "rcx", "r11", "xmm13", "memory");
  EXPECT_TRUE(out == in);
}

std::atomic<int> expected_value = 0;

LIVE_TEST(signals_sent_while_everything_is_stopped_arrive_once_and_in_order) {
  // One thread sends, another takes; the stop reaches them at different moments.
  constexpr int kSignals = 4000;
  const int signal = SIGRTMIN + 4;
  expected_value = 0;
  const Handler handler(signal, [](int, siginfo_t* info, void*) {
    if (info->si_value.sival_int == expected_value) ++expected_value;
  });
  std::atomic<bool> over = false;
  std::thread receiver([&] {
    while (!over) sleep_for(0.001);
  });
  {
    const Blocked blocked({signal});
    for (int i = 0; i < kSignals; ++i) {
      // A full queue is no reason to fail: wait until some are taken.
      while (pthread_sigqueue(receiver.native_handle(), signal, {.sival_int = i}) == EAGAIN) sleep_for(0.001);
      if (i % 1000 == 500) freeze_point();
    }
    while (expected_value < kSignals && contains(pending(), signal)) sleep_for(0.001);
    sleep_for(0.01);
  }
  over = true;
  receiver.join();
  EXPECT_EQ(expected_value.load(), kSignals);
}

}  // namespace
}  // namespace live
