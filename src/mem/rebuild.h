// Making an address space again, from outside, in a process that has nothing in its memory but the area in which the
// table-runner works, and staged shared memory: each mapping is made where it was, filled, and given back what was
// asked for it.
#pragma once

#include <map>
#include <span>

#include "image/memory_records.h"
#include "image/record.h"
#include "tracee/table.h"

namespace stint::mem {

// What is ready for the mappings in every process of the job, by object id.
struct MappingSources {
  std::map<uint64_t, int> files;                         // MappedFileRecord ids: numbers of descriptors
  std::map<uint64_t, image::SharedMemoryRecord> memory;  // SharedMemoryRecord ids
  std::map<uint64_t, int> memfds;                        // of these, those that have descriptors
  std::map<uint64_t, uint64_t> staging;                  // ... and the others: where they are mapped as a whole
};

// Anonymous shared memory has no descriptor: it is mapped once as a whole, and filled, in the process from which all
// others are born; mremap(2) with an old size of 0 then makes another mapping of the same pages wherever a process had
// one.
Result<> stage_shared_memory(tracee::StoppedProcess& process, tracee::Hands& hands, const image::Source& source,
                             const MappingSources& sources);

// System V segments are attached there instead; what was removed is removed again, now that it is attached.
Result<> remove_segments(tracee::StoppedProcess& process, tracee::Hands& hands, std::span<const int> ids);

// Unmaps everything but `keep` (the area).
Result<> empty_memory(tracee::StoppedProcess& process, tracee::Hands& hands, Range keep);

// When every process has mapped what it has of staged memory.
Result<> drop_staging(tracee::StoppedProcess& process, tracee::Hands& hands, const MappingSources& sources);

class Rebuild {
 public:
  Rebuild(tracee::StoppedProcess& process, tracee::Hands& hands, const image::Source& source,
          const std::vector<image::VmaRecord>& vmas, const MappingSources& sources)
      : process_(process), hands_(hands), source_(source), vmas_(vmas), sources_(sources) {}

  // The kernel's own pages, with the vvar pages at this address; `vdso_start` is checked.
  Result<> map_vdso(uint64_t vvar_start, uint64_t vdso_start);
  // The process was born from one that has these mappings: what both have in the same place stays, with the pages that
  // are the parent's; all else goes.
  Result<> keep_from(const std::vector<image::VmaRecord>& parents);
  Result<> map();
  // Private memory.
  Result<> fill(int32_t job_pid);
  // What madvise(2), mlock(2) and guard regions ask for; after fill().
  Result<> advise();

 private:
  void ask_for_mapping(tracee::Table& table, const image::VmaRecord& vma, Range part, uint64_t fd) const;
  Result<uint64_t> descriptor_for(const image::VmaRecord& vma) const;
  Result<> flush(tracee::Table& table);

  tracee::StoppedProcess& process_;
  tracee::Hands& hands_;
  const image::Source& source_;
  const std::vector<image::VmaRecord>& vmas_;
  const MappingSources& sources_;
  std::vector<Range> kept_;  // from its parent
};

}  // namespace stint::mem
