// The one way into the kernel. Runs one system call: retries EINTR, turns -1 into an Error that names the call, and is
// the single place where tests inject failures (sys/fault.h).
#pragma once

#include <cerrno>

#include "base/result.h"
#include "sys/fault.h"

namespace stint::sys {

template <class Call>
Result<long> call(const char* name, Call syscall) {
  if (int injected = fault::take(name)) return os_error(name, injected);
  long ret;
  do {
    ret = static_cast<long>(syscall());
  } while (ret == -1 && errno == EINTR);
  if (ret == -1) return os_error(name);
  return ret;
}

// The same for a call that must not be retried: the caller wants to see EINTR.
template <class Call>
Result<long> call_once(const char* name, Call syscall) {
  if (int injected = fault::take(name)) return os_error(name, injected);
  long ret = static_cast<long>(syscall());
  if (ret == -1) return os_error(name);
  return ret;
}

}  // namespace stint::sys
