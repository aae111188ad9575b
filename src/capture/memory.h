// The memory of a stopped process: each mapping is recorded with what it comes back from, and of private memory the pages
// that differ from what the kernel would give again are copied.
#pragma once

#include "files/mapped_files.h"
#include "image/memory_records.h"
#include "mem/shared_memory.h"
#include "tracee/hands.h"

namespace stint::capture {

struct MemoryTotals {
  uint64_t mapped = 0, saved = 0;  // bytes
  uint64_t exe_file = 0;           // id of the MappedFileRecord of the program itself
};

// Paths that mean something.
struct MemoryNames {
  std::string exe;     // what /proc/PID/exe leads to
  std::string ledger;  // the agent's, which is no file of the program's; empty for none
};

// Writes the VmaRecords and the private pages of one process; notes files and shared memory, which are saved later.
// `ours`: memory of ours inside the process, which is not the program's. kRefused names a mapping that cannot be kept.
Result<MemoryTotals> capture_memory(tracee::StoppedProcess& process, int32_t job_pid, Range ours, const MemoryNames& names,
                                    files::MappedFiles& mapped_files, mem::SharedMemory& shared_memory,
                                    image::Sink& sink);

}  // namespace stint::capture
