// Before a restart touches anything: are the files what they were at the checkpoint, or can they be made so?
//
// A file counts as unchanged when device, inode, size, mtime and ctime are the same and the times could tell; else its
// content decides, by its hash. A file that the job only read, or mapped, must be unchanged. One that the job could
// write is put back if what is there now can be told to be the job's own work: the job ran on after the checkpoint, the
// last change is not younger than its end, and nobody else has the file open for writing. Then growth is cut, and files
// whose content was saved are rewritten; what was there is kept. Anything else is refused by name. The table:
// doc/files.md.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "files/hash_cache.h"
#include "image/file_records.h"
#include "image/memory_records.h"
#include "image/record.h"

namespace stint::files {

// What is known of the job's life after the checkpoint. It decides whether a change can be its own.
struct AfterCheckpoint {
  bool stopped = false;             // killed in the checkpoint: it has changed nothing since
  std::optional<int64_t> ended_ns;  // when its end was noticed, CLOCK_REALTIME; empty if it is not known
};

struct CheckOptions {
  AfterCheckpoint after;
  std::string kept_directory;    // where what is cut or overwritten goes: jobs/NAME/kept/N
  std::string bundle_directory;  // where bundled files are laid out: <state>/bundle
  std::string state_directory;   // where unlinked files go whose directory is gone
};

enum class Act {
  kCut,       // it grew: keep the growth, cut it
  kPutBack,   // the same inode with other content: keep it, write the saved content into it
  kReplace,   // another file under the name: keep it, put a new file with the saved content in its place
  kRecreate,  // nothing there
};

struct FileChange {
  Act act = Act::kCut;
  image::FileStateRecord record;
  struct stat now{};  // not for kRecreate
};

// Where a mapped file comes from.
struct MappedChoice {
  std::string path;
  bool from_checkpoint = false;  // bundled, or without a name: the path is where it is laid out, or empty
  struct stat stat{};            // what was checked under the path; not when from_checkpoint
};

struct FilePlan {
  std::vector<FileChange> changes;
  std::map<uint64_t, MappedChoice> mapped;  // by id
  std::vector<std::string> remarks;         // for the user: what is not as it was, and is left so
};

// Refuses with kUnfit by the first file that is not fit; otherwise says what put_back() has to do. Changes nothing.
Result<FilePlan> check_files(const image::Source& source, HashCache& cache, const CheckOptions& options);

// All records of a type, decoded.
template <class R>
Result<std::vector<R>> records_of(const image::Source& source, image::RecordType type) {
  std::vector<R> found;
  for (const image::Record& record : source.records())
    if (record.type == type) found.push_back(TRY(image::decode<R>(record.payload)));
  return found;
}

}  // namespace stint::files
