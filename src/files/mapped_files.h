// The files that mappings come back from: the program, its libraries, data files. Their pages are not saved; each file
// is known by build-id, size and content, and with `bundle` its content is kept in the checkpoint as well.
//
// The kernel shows a mapping's file by path, device and inode, and gives no descriptor for it: /proc/PID/map_files
// needs privilege. So the path is opened and held against device and inode. Where it leads elsewhere (the library was
// upgraded while the program runs), the file is found behind /proc/PID/exe, a descriptor of the process, or map_files
// for root; or by a descriptor of another process of the job. Where none has it (a semaphore of sem_open(3) whose name
// was removed), its content is read from the memory that maps it, and its end is where no page can be read any more.
// That is all of it that the program can see. Two exceptions: pages that it changed in a private mapping, and that
// nobody maps shared, are kept as changed, so MADV_DONTNEED on them would show the changed bytes again; and parts of
// the file that nobody maps are lost to a mapping that mremap(2) makes larger.
//
// On btrfs and some overlays maps does not show st_dev: then a page of the opened file is mapped here, and what maps
// shows for it is compared.
#pragma once

#include <map>
#include <optional>
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

  // While it is stopped, after all notes, before states.settle() or after it: reads what is left in memory only, what
  // has no name any more, and small files that were changed a moment ago.
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
    bool shared = false;
  };
  struct Entry {
    image::MappedFileRecord record;
    sys::UniqueFd fd;  // invalid: only memory has it
    struct stat stat{};
    std::optional<KnownFile> known;  // as it was in the stop
    bool noted = false;
    bool settled = false;
    std::vector<InMemory> in_memory;  // while nothing but memory has it
    bool may_write = false;           // through one of those
  };
  static Shown shown(const proc::Vma& vma) { return {vma.device(), vma.inode}; }
  Result<Entry*> find_or_open(Pid pid, const proc::Vma& vma);
  // By the name that maps shows, or another one beside it, which becomes the record's.
  static std::optional<sys::UniqueFd> open_by_name(Entry& entry, const proc::Vma& vma);
  // A descriptor of a file that a descriptor of any process, or a message under way, holds.
  std::optional<sys::UniqueFd> open_noted(const proc::Vma& vma);
  Result<> note_shared_mapping(Entry& entry);
  // By offset, each part of the file once.
  static std::vector<InMemory> without_overlaps(std::vector<InMemory> parts);
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
