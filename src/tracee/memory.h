// Small values in the target's memory.
#pragma once

#include <fmt/format.h>

#include "base/remote.h"
#include "base/result.h"
#include "sys/ptrace.h"

namespace stint::tracee {

template <class T>
Result<T> peek(Pid process, RemotePtr<T> at) {
  T value;
  size_t got = TRY(sys::read_memory(process, at.address(), &value, sizeof(value)));
  if (got != sizeof(value)) return failed(fmt::format("memory at {:#x} cannot be read", at.address()));
  return value;
}

inline Result<> poke(Pid process, uint64_t at, const void* from, size_t size) {
  size_t put = TRY(sys::write_memory(process, at, from, size));
  if (put != size) return failed(fmt::format("memory at {:#x} cannot be written", at));
  return {};
}

template <class T>
Result<> poke(Pid process, RemotePtr<T> at, const T& value) {
  return poke(process, at.address(), &value, sizeof(value));
}

}  // namespace stint::tracee
