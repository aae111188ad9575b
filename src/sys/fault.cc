#include "sys/fault.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <atomic>

namespace stint::fault {
namespace {

struct Plan {
  long fail_at = 0;  // counted from 1; 0 for never
  int os_errno = 0;  // 0: SIGKILL ourselves
  const char* count_file = nullptr;
  bool active = false;
};

std::atomic<long> calls{0};

void write_count();

Plan read_plan() {
  Plan plan;
  plan.count_file = getenv("STINT_FAULT_COUNT");
  if (const char* text = getenv("STINT_FAULT")) {
    char* rest = nullptr;
    plan.fail_at = strtol(text, &rest, 10);
    if (*rest == ':' && strcmp(rest + 1, "kill") != 0) plan.os_errno = atoi(rest + 1);
  }
  plan.active = plan.fail_at > 0 || plan.count_file != nullptr;
  if (plan.count_file != nullptr) atexit(write_count);
  return plan;
}

const Plan& plan() {
  static const Plan read_once = read_plan();
  return read_once;
}

void write_count() {
  if (FILE* file = fopen(plan().count_file, "we")) {
    fprintf(file, "%ld\n", calls.load());
    fclose(file);
  }
}

}  // namespace

int take(const char*) {
  const Plan& now = plan();
  if (!now.active) return 0;
  if (calls.fetch_add(1) + 1 != now.fail_at) return 0;
  if (now.os_errno == 0) kill(getpid(), SIGKILL);
  return now.os_errno;
}

}  // namespace stint::fault
