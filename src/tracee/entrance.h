// How the first call gets into a process, and the last: through the area that its agent lends, if it has one; else by
// single injected calls. Both heal when we are killed meanwhile.
//
// What the ledger says of a lent area are hints that the program could have written over, and that do not hold after an
// exec or in a child of a raw fork: the mappings, the proof word and the runner's code are looked at first.
#pragma once

#include "abi/ledger.h"
#include "tracee/inject.h"

namespace stint::tracee {

// Where the runner and its memory are inside the target.
struct Area {
  uint64_t runner = 0;  // address of the code: executable
  uint64_t start = 0;   // writable memory
  uint64_t size = 0;
  Range memory() const { return {start, start + size}; }
};

struct Entrance {
  std::optional<Area> lent;
  Foothold foothold;  // where nothing is lent
};

// `vmas`: the mappings of the process; `published`: what its agent says of its areas, null for none. kRefused when a
// thread is still on its way out of the lent area, from a checkpoint that was killed.
Result<Entrance> find_entrance(const StoppedProcess& process, std::span<const proc::Vma> vmas,
                               const abi::LedgerAreas* published);

}  // namespace stint::tracee
