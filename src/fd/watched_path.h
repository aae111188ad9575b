// The names of inodes of which the kernel shows only number and device: those that an inotify group watches. No call
// leads from there to a name without privilege. So names are guessed, and held against the kernel: we watch each
// ourselves, and it is the one when the kernel shows the same of our watch as of the program's.
//
// Guessed are: what the job has open; the names that the ledger knows; the words of the command lines; working
// directories; the directories above all of these; what lies in them with the number that is looked for, which finds
// the trees of directories that programs watch as a whole; and what lies anywhere below the working directories, as far
// as that can be searched in the time that the job stands still.
#pragma once

#include <map>

#include "fd/kind.h"

namespace stint::fd {

struct WatchedPath {
  std::string path;          // as the job sees it
  uint64_t description = 0;  // one of the job's that has the inode open; 0 for none
  bool directory = false;
};

// By the number of the watch. One that is not found is not in it.
Result<std::map<int, WatchedPath>> find_watched_paths(const Facts& inotify, const CaptureContext& context);

}  // namespace stint::fd
