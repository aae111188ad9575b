// Puts the job's files back to the moment of the checkpoint, as check_files() has planned: all of them, or none. What
// is cut off or overwritten is first copied into `kept_directory`/K, a fresh number K for each restart, with a note
// beside it (ID.json) that says what it was; whoever made the job may remove that after the next checkpoint.
//
// The inode stays wherever the file is still the same one, because programs hold on to inode numbers (sqlite does). A
// file that was removed or replaced gets a new inode. Modes, owners and mtimes are put back; ctime cannot be.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "files/check.h"

namespace stint::files {

class Step;

// Files that have been put back, and that can still be made what they were: until the program runs, something else of
// a restart may fail. One of settle() and undo() is to be called, once.
class PutBackFiles {
 public:
  PutBackFiles();
  PutBackFiles(PutBackFiles&&) noexcept;
  ~PutBackFiles();

  // Makes it final; says what was done, one line for each file.
  std::vector<std::string> settle();
  // Makes all of them what they were before put_back(). Nobody may have them open for writing any more.
  Result<> undo();

 private:
  friend Result<PutBackFiles> put_back(const FilePlan& plan, const image::Source& source, const CheckOptions& options);
  Result<> run();

  std::string kept_;  // empty: there was nothing to do
  std::vector<std::unique_ptr<Step>> steps_;
};

// Does what the plan says. When one step fails, those before it are undone. `plan` and `source` must outlive the
// result.
Result<PutBackFiles> put_back(const FilePlan& plan, const image::Source& source, const CheckOptions& options);

}  // namespace stint::files
