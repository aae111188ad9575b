// Making an address space again, from outside, in a husk whose memory is still ours: everything goes but the area in which
// the table-runner works; then each mapping is made where it was, filled, and given back what was asked for it.
#pragma once

#include <map>

#include "image/memory_records.h"
#include "image/record.h"
#include "tracee/table.h"

namespace stint::mem {

// What the husk has ready for its mappings: numbers of its descriptors, by object id.
struct MappingFds {
  std::map<uint64_t, int> files;          // MappedFileRecord ids
  std::map<uint64_t, int> shared_memory;  // SharedMemoryRecord ids of memfds
};

class Rebuild {
 public:
  Rebuild(tracee::StoppedProcess& process, tracee::Hands& hands, const image::Source& source,
          const std::vector<image::VmaRecord>& vmas, const std::vector<image::SharedMemoryRecord>& shared_memory)
      : process_(process), hands_(hands), source_(source), vmas_(vmas), shared_memory_(shared_memory) {}

  // Unmaps all that the husk had, but `keep` (the area).
  Result<> empty(Range keep);
  // The kernel's own pages, with the vvar pages at this address; `vdso_start` is checked.
  Result<> map_vdso(uint64_t vvar_start, uint64_t vdso_start);
  Result<> map(const MappingFds& fds);
  // Private memory, and shared memory that is no memfd.
  Result<> fill(int32_t job_pid);
  // What madvise(2), mlock(2) and guard regions ask for; after fill().
  Result<> advise();

 private:
  Result<> map_shared_anonymous(const image::SharedMemoryRecord& object);
  Result<> flush(tracee::Table& table);

  tracee::StoppedProcess& process_;
  tracee::Hands& hands_;
  const image::Source& source_;
  const std::vector<image::VmaRecord>& vmas_;
  const std::vector<image::SharedMemoryRecord>& shared_memory_;
};

}  // namespace stint::mem
