// The memory of a stopped process: each mapping is recorded with what it comes back from, and of private memory the
// pages that differ from what the kernel would give again are copied.
#pragma once

#include "files/mapped_files.h"
#include "image/memory_records.h"
#include "mem/shared_memory.h"
#include "sys/pagemap.h"
#include "tracee/hands.h"

namespace stint::capture {

// What was found in the memory of one process.
struct CapturedMemory {
  Pid pid;
  uint64_t mapped = 0, saved = 0;      // bytes
  uint64_t exe_file = 0;               // id of the MappedFileRecord of the program itself
  bool inherits = false;               // pages of it are its parent's, and saved there
  std::vector<image::VmaRecord> vmas;  // by address
  std::vector<Range> pages;            // private ones of its own, or its parent's; by address
};

// Paths that mean something.
struct MemoryNames {
  std::string exe;     // what /proc/PID/exe leads to
  std::string ledger;  // the agent's, which is no file of the program's; empty for none
};

// What was put of a memory before the process was stopped.
struct CopiedAhead {
  std::vector<Range> pages;     // of which those that are unwritten (sys/pagemap) are what they were; by address
  std::vector<Range> followed;  // registered with a userfaultfd of ours; by address
};

// What one memory is held against.
struct MemorySurroundings {
  std::vector<proc::VmaUsage> mappings;  // without any of ours
  Range lent;                            // memory in which our hands work, and nothing of it is to be kept
  MemoryNames names;
  const CapturedMemory* parents = nullptr;  // of the process from which a restart can give it pages; null for none
  const CopiedAhead* copied = nullptr;      // null when nothing was ever put
  const std::vector<sys::PageRun>* scanned = nullptr;  // of mem::scan() in this stop; null for none
};

// Refuses what must be refused before any call is made in the process.
Result<> check_mappings_supported(const std::vector<proc::VmaUsage>& mappings);

// Writes the VmaRecords and the private pages of one process; notes files and shared memory, which are saved later.
// kRefused names a mapping that cannot be kept.
Result<CapturedMemory> capture_memory(tracee::StoppedProcess& process, int32_t job_pid,
                                      const MemorySurroundings& surroundings, files::MappedFiles& mapped_files,
                                      mem::SharedMemory& shared_memory, tracee::Hands& hands, image::Sink& sink);

}  // namespace stint::capture
