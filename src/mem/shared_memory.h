// Shared memory that has no name in the file system: MAP_SHARED|MAP_ANONYMOUS, a shared /dev/zero, a memfd. One object
// may be mapped several times, in part, by several processes; its pages are saved once, under kObjectSpace | id.
//
// A memfd is read through a descriptor. Anonymous shared memory has none that an ordinary user could get (map_files is
// for root): it is read through the mappings. mincore(2), asked by the process itself, tells which of its pages exist,
// so that a large empty object stays empty; it does not know swapped pages, so with any in swap everything is read.
#pragma once

#include <sys/stat.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "image/memory_records.h"
#include "image/record.h"
#include "proc/maps.h"
#include "sys/fd.h"
#include "tracee/hands.h"

namespace stint::mem {

class SharedMemory {
 public:
  // By descriptor: a memfd. The descriptor is duplicated.
  Result<uint64_t> note_descriptor(int fd, const struct stat& stat, std::string_view name);
  // By mapping, of a process that is stopped; both must be there until save().
  Result<uint64_t> note_mapping(const proc::VmaUsage& usage, tracee::StoppedProcess& process, tracee::Hands& hands);

  // The System V segments of the job's own IPC namespace: their content is saved by ipc/.
  void know_segments(std::set<uint64_t> ids) { segments_ = std::move(ids); }

  // Writes the records and the pages of all objects that were noted. The job is stopped.
  Result<> save(image::Sink& sink);

  uint64_t bytes_saved() const { return bytes_saved_; }

 private:
  struct Mapping {
    proc::VmaUsage usage;
    tracee::StoppedProcess* process;
    tracee::Hands* hands;
  };
  struct Object {
    image::SharedMemoryRecord record;
    sys::UniqueFd fd;  // of a memfd
    std::vector<Mapping> mappings;
  };
  Result<> save_memfd(Object& object, image::Sink& sink);
  Result<> find_end(Object& object);
  Result<> save_mapped(Object& object, image::Sink& sink);
  // A part of an object, as pages of one of its mappings.
  Result<> save_part(const Mapping& mapping, Range part, image::Sink& sink);

  std::map<uint64_t, Object> objects_;  // by id
  std::set<uint64_t> segments_;
  uint64_t bytes_saved_ = 0;
};

}  // namespace stint::mem
