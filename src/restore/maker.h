// The maker: a fork of ours that has the root's process number and becomes the root. Before that, as ordinary code, it
// makes all that the processes of the job will find already there: descriptors, files for their mappings, memfds. All
// of it lies at numbers that none of them uses, and every process of the job, a descendant of the maker, inherits it.
// It also sets up the area for the table-runner. Then it reports and waits to be taken over from outside.
#pragma once

#include <array>

#include "fd/table.h"
#include "files/open_files.h"
#include "restore/plan.h"
#include "store/reader.h"

namespace stint::restore {

// An object and the maker's descriptor for it.
struct ObjectFd {
  uint64_t object = 0;
  int32_t fd = -1;
  template <class A>
  void fields(A& a) {
    a("object", object), a("fd", fd);
  }
};

// What the maker tells us when it is ready, or why it is not.
struct MakerReport {
  static constexpr const char* kName = "maker's report";
  bool ready = false;
  uint8_t error_kind = 0;
  std::string error;
  std::vector<ObjectFd> descriptions, files, shared_memory;
  std::vector<ObjectFd> controlling_ptys;  // slaves, by number
  template <class A>
  void fields(A& a) {
    a("ready", ready), a("error_kind", error_kind), a("error", error), a("descriptions", descriptions);
    a("files", files), a("shared_memory", shared_memory), a("controlling_ptys", controlling_ptys);
  }
};

struct MakerJob {
  const Plan& plan;
  store::Reader& source;
  const fd::Tables& tables;
  files::FilePlan file_plan;
  files::CheckOptions file_options;
  std::array<int, 3> streams;  // the new standard streams of the job
  std::string ledger;          // the agent's, laid out anew
  int socket = -1;             // a byte comes from there when
  int report = -1;             // ... the report is in this file
  int caller = -1;             // the other end of the socket, which only the caller is to hold
};

// Runs in the new process; `terminal` is the slave of the job's terminal or -1. Never returns: it reports and waits.
[[noreturn]] void maker_main(MakerJob& job, int terminal);

}  // namespace stint::restore
