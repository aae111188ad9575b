#include "tracee/table.h"

#include <algorithm>

#include "tracee/memory.h"

namespace stint::tracee {

uint64_t Table::room(size_t size) {
  size_t at = (scratch_.size() + 15) & ~size_t{15};
  CHECK(at + size <= Hands::kScratchSize);
  scratch_.resize(at + size);
  return hands_->scratch() + at;
}

uint64_t Table::in(ByteView bytes) {
  uint64_t address = room(bytes.size());
  std::ranges::copy(bytes, scratch_.begin() + static_cast<ptrdiff_t>(address - hands_->scratch()));
  return address;
}

size_t Table::add(const char* name, uint64_t nr, std::array<uint64_t, 6> args) {
  calls_.push_back({nr, args, name != nullptr});
  names_.push_back(name);
  return calls_.size() - 1;
}

Result<> Table::run(Thread& thread, Pid process) {
  if (!scratch_.empty()) TRY(poke(process, hands_->scratch(), scratch_.data(), scratch_.size()));
  results_ = TRY(hands_->run(thread, calls_));
  for (size_t i = 0; i < calls_.size(); ++i)
    if (names_[i] != nullptr && results_[i] < 0 && results_[i] >= -4095)
      return os_error(names_[i], static_cast<int>(-results_[i]));
  if (scratch_.empty()) return {};
  size_t got = TRY(sys::read_memory(process, hands_->scratch(), scratch_.data(), scratch_.size()));
  if (got != scratch_.size()) return failed("the table-runner's scratch memory cannot be read");
  return {};
}

}  // namespace stint::tracee
