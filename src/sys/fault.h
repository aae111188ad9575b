// Fault points. With STINT_FAULT=N:ERRNO the Nth system call of this process that goes through sys::call fails with
// ERRNO; with STINT_FAULT=N:kill the process kills itself with SIGKILL in its place. STINT_FAULT_COUNT=FILE writes how
// many calls there were, so that a sweep knows where to end. Without either variable a fault point costs one load.
#pragma once

namespace stint::fault {

// The errno to fail with, or 0 for going on.
int take(const char* call_name);

// While one is there, another process stands in a system call that we make in it, and would be lost with us
// (doc/failure-model.md). A fault that strikes meanwhile says so, on standard error, so that a sweep can tell.
class InjectedCall {
 public:
  InjectedCall();
  ~InjectedCall();
  InjectedCall(const InjectedCall&) = delete;
  InjectedCall& operator=(const InjectedCall&) = delete;
};

// Faults for a test within its own process: while it lives, the calls are counted from 1 and the Nth fails.
class Injection {
 public:
  // fail_at 0: only counts.
  Injection(long fail_at, int os_errno);
  ~Injection();
  Injection(const Injection&) = delete;
  Injection& operator=(const Injection&) = delete;
  long calls() const;
};

}  // namespace stint::fault
