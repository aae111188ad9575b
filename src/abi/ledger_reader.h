// The reading side of the ledger (abi/ledger.h): bytes in, structs out. The bytes may be cut off at any point of any
// append, and a program may have written over them: a length is never trusted, and an entry that makes no sense is left
// out. All of it is hints; see abi/ledger.h.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "abi/ledger.h"
#include "base/bytes.h"
#include "base/result.h"

namespace stint::abi {

// What is noted of one descriptor of a process.
struct LedgerDescriptor {
  std::string name;  // as the program asked for it; empty if it is only known to be a duplicate
  std::string
      directory;  // what a relative name started from; empty for an absolute name or one relative to directory_fd
  int directory_fd = 0;  // AT_FDCWD unless openat named another
  uint32_t flags = 0;    // as passed to open; 0 for a stream
  int dup_of = -1;       // the descriptor it was duplicated from, -1 for none

  // The name as an absolute path; empty if it is not known what it is relative to.
  std::string path() const;
};

struct LedgerObject {
  std::string name;       // the linker's name for it; empty for the main program
  std::string directory;  // the working directory when a relative one was mapped
  uint64_t load_address = 0;
  int64_t link_namespace = 0;
};

// One process image: between an exec and the next, or from a fork on.
struct LedgerProcess {
  uint32_t pid = 0;          // in the job's own counting
  uint64_t incarnation = 0;  // later images have greater ones
  uint64_t parent = 0;
  LedgerAreas areas{};  // all zero if the agent has none there
  std::map<int, LedgerDescriptor> descriptors;
  std::vector<LedgerObject> objects;
  std::string last_exec;  // the program it last asked to become (it may have failed to)
};

struct Ledger {
  std::vector<LedgerProcess> processes;  // by incarnation; of processes that are gone too
  uint64_t lost = 0;                     // notes for which there was no room

  // The latest image that had this pid, or null: a process without an agent, or one that was made by a raw fork and
  // has noted nothing since.
  const LedgerProcess* find(uint32_t pid) const;
};

// Fails if the bytes are not a ledger of this version. Touches only the chunks that somebody owns: map the file rather
// than read it. It may grow and change meanwhile.
Result<Ledger> read_ledger(ByteView bytes);

// The first page of a new ledger with room for so many chunks; the rest of its ledger_size() bytes is zeros.
Bytes empty_ledger(uint32_t chunks = kLedgerChunks);

}  // namespace stint::abi
