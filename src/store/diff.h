// What changed between two checkpoints of a job: processes and threads that came and went, mappings and their pages,
// descriptors, files, and objects that have no place in a file system.
//
// Pages are compared by their hashes, so that hardly any has to be read. A process, a thread and a descriptor are the
// same when their numbers are. After a restart pipes, sockets and nameless memory have other inode numbers: what tells
// two of them apart by these numbers only is no change.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "store/reader.h"

namespace stint::store {

enum class Change { kNew, kGone, kChanged };
const char* name_of(Change change);

// Changed: it runs another program, or has ended and was not waited for.
struct ProcessChange {
  Change change = Change::kNew;
  int32_t pid = 0;
  std::string was, now;  // the program, "zombie", or empty where it is not there
};

// Of threads other than the first one, which is the process.
struct ThreadChange {
  Change change = Change::kNew;
  int32_t pid = 0, tid = 0;
  std::string name;
};

// Bytes of saved pages: of memory without a file, those that were touched; of a private mapping of a file, those that
// are not as in the file.
struct PageChanges {
  uint64_t added = 0, changed = 0, gone = 0, same = 0;
  bool any() const { return added + changed + gone > 0; }
  void operator+=(const PageChanges& more) {
    added += more.added, changed += more.changed, gone += more.gone, same += more.same;
  }
};

struct MappingChange {
  Change change = Change::kNew;
  int32_t pid = 0;
  Range was, now;  // empty where it is not there
  std::string protection_was, protection_now, name, segment;
  PageChanges pages;
};

struct DescriptorChange {
  Change change = Change::kNew;
  int32_t pid = 0, fd = 0;
  std::string kind, what;           // as it is, or was
  std::vector<std::string> fields;  // what of it changed, but the position
  std::optional<uint64_t> position_was, position_now;
};

struct FileChange {
  Change change = Change::kNew;
  std::string path;
  bool unlinked = false;
  uint64_t size_was = 0, size_now = 0;
  bool content = false;  // its bytes changed; where they are not known, its time of change
};

// A memfd, or what is in the job's IPC namespace.
struct ObjectChange {
  Change change = Change::kNew;
  std::string name;  // "memfd NAME (pid 1, descriptor 5)", "sysv_semaphore_set 3"
};

struct Diff {
  std::vector<ProcessChange> processes;
  std::vector<ThreadChange> threads;
  std::vector<MappingChange> mappings;  // by process and address
  std::vector<DescriptorChange> descriptors;
  std::vector<FileChange> files;
  std::vector<ObjectChange> objects;
  PageChanges pages;  // of all mappings, also of those without a change
};

// Fails with kDamaged where a record or a page that has to be read is not what was written.
Result<Diff> diff(const Reader& was, const Reader& now);

nlohmann::ordered_json to_json(const Diff& diff);

}  // namespace stint::store
