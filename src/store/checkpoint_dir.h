// A checkpoint on disk is a directory, checkpoints/N, of four files: `records` (the record stream), `pages` (the
// blocks of page data), `hashes` (of these pages, for the next checkpoint) and `manifest.json` (for `stint ls`). It is
// written under the name N.partial and gets its name by one rename when all of it is durable; so whatever is called N
// is whole, and whatever is called N.partial is of no use to anybody.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "store/manifest.h"
#include "sys/fd.h"

namespace stint::store {

inline constexpr const char* kRecordsFile = "records";
inline constexpr const char* kPagesFile = "pages";
inline constexpr const char* kHashesFile = "hashes";
inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr const char* kPartialSuffix = ".partial";
// Of a forgotten checkpoint, on which others lean: its `pages` and `hashes`, and nothing that counts beside them.
inline constexpr const char* kLeftPagesSuffix = ".pages";

// The number that a name in checkpoints/ stands for: "12", and not "012", "12.partial" or "x". 0 for none.
uint64_t checkpoint_number(std::string_view name);
// Where the pages of checkpoint `number` lie: checkpoints/N, or what was left of it.
std::string directory_of_pages(const std::string& checkpoints, uint64_t number);

// A checkpoint that is being written. Destroyed before publish() has succeeded, it takes all that was written with it.
class PartialCheckpoint {
 public:
  // Makes the directory `checkpoints` if it is missing, locks it until this object goes, removes what writers that died
  // have left, and begins the number after the highest. Fails when another process is writing a checkpoint there.
  static Result<PartialCheckpoint> create(const std::string& checkpoints);
  PartialCheckpoint(PartialCheckpoint&& other) noexcept;
  PartialCheckpoint& operator=(PartialCheckpoint&&) = delete;
  ~PartialCheckpoint();

  uint64_t number() const { return number_; }
  // The directory of the highest one that is there; empty for none.
  std::string newest() const { return newest_ != 0 ? checkpoints_ + "/" + std::to_string(newest_) : ""; }
  int pages() const { return pages_.get(); }
  int hashes() const { return hashes_.get(); }
  std::string pages_path() const { return partial_ + "/" + kPagesFile; }
  // What it is called once it is published.
  const std::string& path() const { return final_; }

  // Where it lies until it is published.
  const std::string& partial_path() const { return partial_; }

  // The record stream and the manifest, which come last.
  Result<> write(ByteView records, const Manifest& manifest);
  // Gives it its name. With `durable` it is there after a power failure too, once this has returned.
  Result<> publish(bool durable);

 private:
  PartialCheckpoint() = default;
  Result<> make_files();
  Result<> write_manifest(const Manifest& manifest);

  std::string checkpoints_, partial_, final_;
  uint64_t number_ = 0, newest_ = 0;
  bool unfinished_ = false;
  sys::UniqueFd parent_, directory_, records_, pages_, hashes_;
};

// Adds to an error of writing at `path` what can be done about it.
Error writing_error(Error error, const std::string& path);

}  // namespace stint::store
