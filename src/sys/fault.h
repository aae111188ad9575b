// Fault points. With STINT_FAULT=N:ERRNO the Nth system call of this process that goes through sys::call fails with
// ERRNO; with STINT_FAULT=N:kill the process kills itself with SIGKILL in its place. STINT_FAULT_COUNT=FILE writes how
// many calls there were, so that a sweep knows where to end. Without either variable a fault point costs one load.
#pragma once

namespace stint::fault {

// The errno to fail with, or 0 for going on.
int take(const char* call_name);

// Faults for a test within its own process: while it lives, the calls are counted from 1 and the Nth fails.
class Injection {
 public:
  // fail_at 0: only counts.
  Injection(long fail_at, int os_errno);
  // All calls of this name fail: what a file system, say, does not have.
  Injection(const char* call_name, int os_errno);
  ~Injection();
  Injection(const Injection&) = delete;
  Injection& operator=(const Injection&) = delete;
  long calls() const;
};

}  // namespace stint::fault
