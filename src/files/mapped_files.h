// The files that mappings come back from: the program, its libraries, data files. Their pages are not saved; each file
// is known by build-id, size and content, and with `bundle` its content is kept in the checkpoint as well.
//
// The kernel shows a mapping's file by path, device and inode, and gives no descriptor for it: /proc/PID/map_files
// needs privilege. So the path is opened and held against device and inode. Where it leads elsewhere (the library was
// upgraded while the program runs), the file is found behind /proc/PID/exe, a descriptor of the process, or map_files
// for root. Where none has it, its content is read from the memory that maps it: that is all of it that the program can
// ever see, with one exception: pages that the program changed in its private mapping are kept as changed, so
// MADV_DONTNEED on them would show the changed bytes again.
//
// On btrfs and some overlays maps does not show st_dev: then a page of the opened file is mapped here, and what maps
// shows for it is compared.
#pragma once

#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "base/remote.h"
#include "files/file_states.h"
#include "image/memory_records.h"
#include "proc/maps.h"

namespace stint::files {

class MappedFiles {
 public:
  // Both must outlive this. `states` learns of files that are mapped shared and writable.
  MappedFiles(HashCache& cache, FileStates& states, bool bundle) : cache_(cache), states_(states), bundle_(bundle) {}

  // While the job runs: opens the file behind a mapping, so that note() need not. It is not part of the checkpoint yet.
  void look_ahead(Pid pid, const proc::Vma& vma);

  // While it is stopped: notes the file, or character device, behind a mapping. `may_write`: the mapping is shared and
  // its file was opened for writing (VmFlags "sh mw"). The same file always gets the same id.
  Result<uint64_t> note(Pid pid, const proc::Vma& vma, bool may_write);

  // While it is stopped, after all notes, before states.settle() or after it: reads what is left in memory only, and
  // what has no name any more.
  Result<> settle(image::Sink& sink);

  // After it runs again, and after states.settle(): hashes, keeps the bundle, writes one MappedFileRecord for each
  // file.
  Result<> save(image::Sink& sink);

 private:
  // As maps shows a file.
  using Shown = std::tuple<uint64_t, uint64_t>;  // device, inode
  struct InMemory {
    Pid pid;
    Range addresses;
    uint64_t offset = 0;
  };
  struct Entry {
    image::MappedFileRecord record;
    sys::UniqueFd fd;  // invalid: only memory has it
    struct stat stat {};
    bool noted = false;
    bool settled = false;
    std::vector<InMemory> in_memory;
  };
  static Shown shown(const proc::Vma& vma) { return {vma.device(), vma.inode}; }
  Result<Entry*> find_or_open(Pid pid, const proc::Vma& vma);
  Result<> settle(Entry& entry, image::Sink& sink);
  Result<> settle_from_memory(Entry& entry, image::Sink& sink);
  Result<> save(Entry& entry, image::Sink& sink);

  HashCache& cache_;
  FileStates& states_;
  bool bundle_;
  std::vector<Entry> entries_;  // the id is the index + 1
  std::map<Shown, size_t> by_file_;
};

}  // namespace stint::files
