/* Sleeps in every way that the C library offers, and says whether a sleep was cut short. It never computes. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void report(const char* how, double began, double wanted, int result) {
  printf("%s: %s, result %d\n", how, now() - began >= wanted - 1e-4 ? "slept its time" : "cut short", result);
}

int main(int argc, char** argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 1;
  double part = seconds / 6;
  struct timespec span = {(time_t)part, (long)((part - (time_t)part) * 1e9)}, until;
  struct timeval tv = {span.tv_sec, span.tv_nsec / 1000};
  double began = now();
  report("nanosleep", began, part, nanosleep(&span, NULL));
  began = now();
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += span.tv_sec + (until.tv_nsec + span.tv_nsec) / 1000000000;
  until.tv_nsec = (until.tv_nsec + span.tv_nsec) % 1000000000;
  report("clock_nanosleep to an instant", began, part, clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL));
  began = now();
  report("poll", began, part - 1e-3, poll(NULL, 0, (int)(part * 1000)));
  began = now();
  report("select", began, part, select(0, NULL, NULL, NULL, &tv));
  began = now();
  report("ppoll", began, part, ppoll(NULL, 0, &span, NULL));
  began = now();
  int ep = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event;
  report("epoll_wait", began, part - 1e-3, epoll_wait(ep, &event, 1, (int)(part * 1000)));
  return 0;
}
