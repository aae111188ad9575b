#include "sys/fault.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <new>

namespace stint::fault {
namespace {

struct Plan {
  std::atomic<long> fail_at = 0;                 // counted from 1; 0 for never
  std::atomic<int> os_errno = 0;                 // 0: SIGKILL ourselves
  std::atomic<const char*> fail_call = nullptr;  // whose every call fails; null for none
  const char* count_file = nullptr;
  std::atomic<bool> active = false;

  Plan();
};

// Counted together with what we fork, so that one fault is one: a shared mapping where a plan came from outside.
std::atomic<long> own_calls{0};
std::atomic<long>* calls = &own_calls;

void write_count();

Plan::Plan() : count_file(getenv("STINT_FAULT_COUNT")) {
  if (const char* text = getenv("STINT_FAULT")) {
    char* rest = nullptr;
    fail_at = strtol(text, &rest, 10);
    if (*rest == ':' && strcmp(rest + 1, "kill") != 0) os_errno = atoi(rest + 1);
  }
  active = fail_at > 0 || count_file != nullptr;
  if (count_file != nullptr) atexit(write_count);
  void* shared = MAP_FAILED;
  if (active) shared = mmap(nullptr, sizeof(*calls), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared != MAP_FAILED) calls = new (shared) std::atomic<long>(0);
}

Plan& plan() {
  static Plan only;
  return only;
}

void write_count() {
  if (FILE* file = fopen(plan().count_file, "we")) {
    fprintf(file, "%ld\n", calls->load());
    fclose(file);
  }
}

}  // namespace

int take(const char* call_name) {
  Plan& now = plan();
  if (!now.active) return 0;
  if (const char* failing = now.fail_call; failing != nullptr && strcmp(failing, call_name) == 0) return now.os_errno;
  if (calls->fetch_add(1) + 1 != now.fail_at) return 0;
  if (now.os_errno == 0) kill(getpid(), SIGKILL);
  return now.os_errno;
}

Injection::Injection(long fail_at, int os_errno) {
  Plan& now = plan();
  *fault::calls = 0;
  now.os_errno = os_errno;
  now.fail_at = fail_at;
  now.active = true;
}

Injection::Injection(const char* call_name, int os_errno) : Injection(0L, os_errno) { plan().fail_call = call_name; }

Injection::~Injection() {
  plan().active = false;
  plan().fail_call = nullptr;
  plan().fail_at = 0;
}

long Injection::calls() const { return fault::calls->load(); }

}  // namespace stint::fault
