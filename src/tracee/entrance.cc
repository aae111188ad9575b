#include "tracee/entrance.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "abi/runner.h"
#include "tracee/hands.h"
#include "tracee/memory.h"

namespace stint::tracee {
namespace {

Range runner_code(const abi::LedgerAreas& areas) {
  return {areas.runner, areas.runner + static_cast<uint64_t>(abi::stint_runner_end - abi::stint_runner_start)};
}

const proc::Vma* mapping_of(std::span<const proc::Vma> vmas, Range range) {
  auto found = std::ranges::find_if(vmas, [&](const proc::Vma& vma) { return vma.range.contains(range.start); });
  return found != vmas.end() && range.start < range.end && range.end <= found->range.end ? &*found : nullptr;
}

bool is_our_runner(Pid process, Range code) {
  Bytes there(code.size());
  Result<size_t> got = sys::read_memory(process, code.start, there.data(), there.size());
  return got.has_value() && *got == there.size() &&
         std::memcmp(there.data(), abi::stint_runner_start, there.size()) == 0;
}

bool holds(Pid process, std::span<const proc::Vma> vmas, const abi::LedgerAreas& areas) {
  const proc::Vma* code = mapping_of(vmas, runner_code(areas));
  const proc::Vma* memory = mapping_of(vmas, {areas.scratch, areas.scratch + areas.scratch_size});
  if (code == nullptr || !code->exec || !code->read) return false;
  if (memory == nullptr || !memory->read || !memory->write || memory->shared || !memory->anonymous()) return false;
  if (areas.scratch_size < Hands::kWorkSize || areas.scratch % kPageSize != 0) return false;
  Result<uint64_t> proof = peek(process, RemotePtr<uint64_t>(areas.proof_address));
  return proof.has_value() && *proof == areas.proof_value && is_our_runner(process, runner_code(areas));
}

}  // namespace

Result<Entrance> find_entrance(const StoppedProcess& process, std::span<const proc::Vma> vmas,
                               const abi::LedgerAreas* published) {
  Entrance entrance;
  if (published == nullptr || published->proof_value == 0 || !holds(process.seen_as(), vmas, *published)) {
    entrance.foothold = TRY(find_foothold(process.seen_as(), vmas));
    return entrance;
  }
  for (const Thread& thread : process.threads())
    if (runner_code(*published).contains(thread.registers.rip))
      return not_now(
          fmt::format("thread {} is still in a call of a checkpoint that was killed; try again", thread.tid.number));
  entrance.lent = Area{published->runner, published->scratch, published->scratch_size};
  return entrance;
}

}  // namespace stint::tracee
