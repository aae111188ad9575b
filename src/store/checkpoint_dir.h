// A checkpoint on disk is a directory, checkpoints/N, of three files: `records` (the record stream), `pages` (the
// blocks of page data) and `manifest.json` (for `stint ls`). It is written under the name N.partial and gets its name
// by one rename when all of it is durable; so whatever is called N is whole, and whatever is called N.partial is of no
// use to anybody.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "store/manifest.h"
#include "sys/fd.h"

namespace stint::store {

inline constexpr const char* kRecordsFile = "records";
inline constexpr const char* kPagesFile = "pages";
inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr const char* kPartialSuffix = ".partial";

// The number that a name in checkpoints/ stands for: "12", and not "012", "12.partial" or "x". 0 for none.
uint64_t checkpoint_number(std::string_view name);

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
  int pages() const { return pages_.get(); }
  std::string pages_path() const { return partial_ + "/" + kPagesFile; }
  // What it is called once it is published.
  const std::string& path() const { return final_; }

  // Writes the record stream and the manifest, and gives the checkpoint its name. With `durable` it is there after a
  // power failure too, once this has returned.
  Result<> publish(ByteView records, const Manifest& manifest, bool durable);

 private:
  PartialCheckpoint() = default;
  Result<> make_files();
  Result<> write_manifest(const Manifest& manifest);

  std::string checkpoints_, partial_, final_;
  uint64_t number_ = 0;
  bool unfinished_ = false;
  sys::UniqueFd parent_, directory_, records_, pages_;
};

// Adds to an error of writing at `path` what can be done about it.
Error writing_error(Error error, const std::string& path);

}  // namespace stint::store
