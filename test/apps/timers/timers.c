/* Handles signals all the time: an interval timer, POSIX timers with values, queued signals to itself, a timerfd and a
 * signalfd, an alternate stack, a masked signal that stays pending. It counts by work done, never by the clock, so that
 * its output is the same however often it was stopped. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t alarms, ticks, on_alternate_stack;
static volatile long queued_sum, queued_count;
static char alternate[64 * 1024];

static void on_alarm(int signal) { (void)signal, alarms++; }

static void on_tick(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  char here;
  if (info->si_value.sival_int == 4711) ticks++;
  if (&here >= alternate && &here < alternate + sizeof alternate) on_alternate_stack = 1;
}

static void on_queued(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  queued_sum += info->si_value.sival_int;
  queued_count++;
}

static void* sender(void* rounds_of) {
  long rounds = *(long*)rounds_of;
  sigset_t all;  /* The handlers run in the main thread alone. */
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  for (long n = 1; n <= rounds; n++) {
    union sigval value = {.sival_int = (int)(n % 1000)};
    while (sigqueue(getpid(), SIGRTMIN + 1, value) == -1 && errno == EAGAIN) usleep(100);
    if (n % 16 == 0) usleep(300);
  }
  return NULL;
}

static void check(int result, const char* what) {
  if (result == -1) {
    perror(what);
    exit(1);
  }
}

int main(int argc, char** argv) {
  long rounds = argc > 1 ? atol(argv[1]) : 10000;
  stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
  check(sigaltstack(&stack, NULL), "sigaltstack");
  struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
  check(sigaction(SIGALRM, &action, NULL), "sigaction");
  action = (struct sigaction){.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
  check(sigaction(SIGRTMIN, &action, NULL), "sigaction");
  action = (struct sigaction){.sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_RESTART};
  check(sigaction(SIGRTMIN + 1, &action, NULL), "sigaction");

  sigset_t held;
  sigemptyset(&held);
  sigaddset(&held, SIGUSR2);
  check(sigprocmask(SIG_BLOCK, &held, NULL), "sigprocmask");
  int signals = signalfd(-1, &held, SFD_CLOEXEC);
  check(signals, "signalfd");
  union sigval word = {.sival_int = 31};
  check(sigqueue(getpid(), SIGUSR2, word), "sigqueue");

  struct itimerval every = {{0, 700}, {0, 700}};
  check(setitimer(ITIMER_REAL, &every, NULL), "setitimer");
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 4711};
  timer_t timer;
  check(timer_create(CLOCK_MONOTONIC, &event, &timer), "timer_create");
  struct itimerspec period = {{0, 1100000}, {0, 1100000}};
  check(timer_settime(timer, 0, &period, NULL), "timer_settime");
  int clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  check(clock, "timerfd_create");
  struct itimerspec beat = {{0, 2000000}, {0, 2000000}};
  check(timerfd_settime(clock, 0, &beat, NULL), "timerfd_settime");

  pthread_t thread;
  if (pthread_create(&thread, NULL, sender, &rounds)) return 1;
  uint64_t work = 1, beats = 0;
  for (long n = 0; n < rounds; n++) {
    for (int i = 0; i < 20000; i++) work = work * 6364136223846793005u + 1442695040888963407u;
    if (n % 64 == 0) {
      uint64_t count;
      if (read(clock, &count, sizeof count) != sizeof count) return 2;
      beats += count;
    }
    if (n % 5000 == 0) printf("%ld %016lx\n", n, work);
  }
  pthread_join(thread, NULL);
  while (queued_count < rounds) pause();

  struct signalfd_siginfo kept;
  if (read(signals, &kept, sizeof kept) != sizeof kept) return 3;
  printf("held back: signal %u value %d\n", kept.ssi_signo, kept.ssi_int);
  printf("queued %ld sum %ld\n", queued_count, queued_sum);
  printf("alarms %s, ticks %s, beats %s, alternate stack %s\n", alarms > 10 ? "came" : "lost", ticks > 10 ? "came" : "lost",
         beats > 10 ? "came" : "lost", on_alternate_stack ? "used" : "not used");
  return alarms > 10 && ticks > 10 && beats > 10 ? 42 : 1;
}
