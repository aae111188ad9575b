// Puts the job's files back to the moment of the checkpoint, as check_files() has planned: all of them, or none. What
// is cut off or overwritten is first copied into `kept_directory`/K, a fresh number K for each restart, with a note
// beside it (ID.json) that says what it was; whoever made the job may remove that after the next checkpoint.
//
// The inode stays wherever the file is still the same one, because programs hold on to inode numbers (sqlite does). A
// file that was removed or replaced gets a new inode. Modes, owners and mtimes are put back; ctime cannot be.
#pragma once

#include <string>
#include <vector>

#include "files/check.h"

namespace stint::files {

// Does what the plan says, and says what it did, one line for each file. When one step fails, those before it are
// undone.
Result<std::vector<std::string>> put_back(const FilePlan& plan, const image::Source& source,
                                          const CheckOptions& options);

}  // namespace stint::files
