// A table of system calls under construction, with the memory that their arguments point to. Values that the calls read
// (in) and room for what they write (out) lie in the hands' scratch memory; run() brings it there and back.
#pragma once

#include <concepts>
#include <cstring>
#include <vector>

#include "tracee/hands.h"

namespace stint::tracee {

class Table {
 public:
  explicit Table(Hands& hands) : hands_(&hands) {}

  // Room for `size` bytes, zeroed, 16-byte aligned; its address in the target. CHECKs that the scratch memory suffices.
  uint64_t room(size_t size);
  // A copy of these bytes there.
  uint64_t in(ByteView bytes);
  template <class T>
    requires(std::is_trivially_copyable_v<T> && !std::convertible_to<const T&, ByteView>)
  uint64_t in(const T& value) {
    return in(ByteView(reinterpret_cast<const std::byte*>(&value), sizeof(value)));
  }
  template <class T>
  uint64_t out() {
    return room(sizeof(T));
  }

  // Adds a call; its index. `name` is for the error of a call that must not fail; null: the caller looks at the result.
  size_t ask(uint64_t nr, std::array<uint64_t, 6> args = {}) { return add(nullptr, nr, args); }
  size_t must(const char* name, uint64_t nr, std::array<uint64_t, 6> args = {}) { return add(name, nr, args); }

  bool empty() const { return calls_.empty(); }
  size_t calls() const { return calls_.size(); }
  size_t scratch_left() const { return Hands::kScratchSize - scratch_.size(); }

  // Makes the calls in the thread. The first one that must not fail and did is the Error.
  Result<> run(Thread& thread, Pid process);

  int64_t result(size_t index) const { return results_[index]; }
  template <class T>
  T value(uint64_t address) const {
    T value;
    std::memcpy(&value, scratch_.data() + (address - hands_->scratch()), sizeof(value));
    return value;
  }

 private:
  size_t add(const char* name, uint64_t nr, std::array<uint64_t, 6> args);

  Hands* hands_;
  Bytes scratch_;
  std::vector<Call> calls_;
  std::vector<const char*> names_;
  std::vector<int64_t> results_;
};

}  // namespace stint::tracee
