// Addresses, descriptors and process numbers of the *other* process have types of their own, so that they cannot be
// dereferenced or closed here by mistake.
#pragma once

#include <compare>
#include <cstdint>

namespace stint {

// An address in the target. T says what lies there.
template <class T = void>
class RemotePtr {
 public:
  constexpr RemotePtr() = default;
  constexpr explicit RemotePtr(uint64_t address) : address_(address) {}
  constexpr uint64_t address() const { return address_; }
  constexpr bool null() const { return address_ == 0; }
  template <class U>
  constexpr RemotePtr<U> as() const {
    return RemotePtr<U>(address_);
  }
  constexpr RemotePtr operator+(uint64_t bytes) const { return RemotePtr(address_ + bytes); }
  constexpr auto operator<=>(const RemotePtr&) const = default;

 private:
  uint64_t address_ = 0;
};

// A descriptor number in the target's table, never ours.
struct RemoteFd {
  int number = -1;
  constexpr auto operator<=>(const RemoteFd&) const = default;
};

// A process or thread as *we* see it: the number in our own pid namespace.
struct Pid {
  int number = 0;
  constexpr auto operator<=>(const Pid&) const = default;
};

// The same process as the *job* sees it: the number in the job's pid namespace. Only these are written into a
// checkpoint.
struct JobPid {
  int number = 0;
  constexpr auto operator<=>(const JobPid&) const = default;
};

}  // namespace stint
