// The husk: a fork of ours that has the right process number and becomes the program. In it, as ordinary code, runs all that
// can be done before its memory is exchanged: descriptors, directory, limits, signal actions; the files of its mappings are
// opened, and the area for the table-runner is set up. Then it reports and waits to be taken over from outside.
#pragma once

#include <array>

#include "fd/table.h"
#include "files/open_files.h"
#include "restore/plan.h"
#include "store/reader.h"

namespace stint::restore {

// An object and the husk's descriptor for it.
struct ObjectFd {
  uint64_t object = 0;
  int32_t fd = -1;
  template <class A>
  void fields(A& a) {
    a("object", object), a("fd", fd);
  }
};

// A POSIX lock that closing one of our descriptors of the same file drops: it is taken again at the end.
struct HeldLock {
  int32_t fd = -1;
  image::FileLock lock;
  template <class A>
  void fields(A& a) {
    a("fd", fd), a("lock", lock);
  }
};

// What the husk tells us when it is ready, or why it is not.
struct HuskReport {
  static constexpr const char* kName = "husk's report";
  bool ready = false;
  uint8_t error_kind = 0;
  std::string error;
  std::vector<ObjectFd> files, shared_memory;
  std::vector<HeldLock> locks;
  std::vector<int32_t> to_close;  // descriptors that are not the program's
  template <class A>
  void fields(A& a) {
    a("ready", ready), a("error_kind", error_kind), a("error", error), a("files", files);
    a("shared_memory", shared_memory), a("to_close", to_close), a("locks", locks);
  }
};

struct HuskJob {
  const Plan& plan;
  store::Reader& source;
  files::FilePlan file_plan;
  files::CheckOptions file_options;
  std::array<int, 3> streams;  // the new standard streams of the job
  std::string ledger;          // the agent's, laid out anew
  int socket = -1;             // the report goes there
};

// Runs in the new process; `terminal` is the slave of the job's terminal or -1. Never returns: it reports and waits.
[[noreturn]] void husk_main(HuskJob& job, int terminal);

}  // namespace stint::restore
