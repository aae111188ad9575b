// Which pages of a process are written to while it runs, so that what was copied of it before it was stopped need not
// be copied again.
//
// The one way that we have is userfaultfd's asynchronous write protection (sys/userfault), which an ordinary user may
// use from Linux 6.7 on. Without it nothing is followed, and all memory is copied while the process stands still: of
// the older ways, soft-dirty bits are switched off in many kernels and are shared with whoever else clears them.
//
// It is right by what counts as unwritten: only a page of a mapping that is followed at that very moment, and that we
// have protected. What is mapped, moved or grown later, a child, another program after an exec: none of it is followed.
// Followed is private memory without a file. In a private mapping of a file, a page that the program gives back
// (MADV_DONTNEED) would go on to look like one that it has, unwritten.
//
// Pages are protected only while the process stands still. A read(2) with O_DIRECT, or from some network file systems,
// looks up its pages first and has a device write into them later: begun before the page is protected, it would be
// missed. In a stop there is none under way, since a thread inside one does not stop before its end.
#pragma once

#include "proc/maps.h"
#include "sys/fd.h"
#include "sys/pagemap.h"
#include "tracee/hands.h"

namespace stint::mem {

// Whether writes can be followed here.
bool can_follow();

class Follower {
 public:
  // Begins to follow a stopped process, whose mappings are given. All of it ends with this object, or with us.
  static Result<Follower> start(tracee::StoppedProcess& process, tracee::Hands& hands, std::span<const proc::Vma> vmas);

  // The pages that were written since they were last taken, at first all that hold anything of the process's own; by
  // address. They are unwritten (sys/pagemap) from now on. The process is stopped.
  Result<std::vector<Range>> take_written();
  // How much that would be. The process may run.
  Result<uint64_t> bytes_written() const;
  // What is followed, if it is still there; by address. smaps shows it as registered ("uw").
  const std::vector<Range>& followed() const { return followed_; }
  // Takes the protection off while the process runs, a little at a time: when this object goes, that holds up whatever
  // the process does with its mappings.
  void unprotect();

 private:
  Follower(Pid process, sys::UniqueFd userfault, sys::Pagemap pagemap)
      : process_(process), userfault_(std::move(userfault)), pagemap_(std::move(pagemap)) {}

  Pid process_;
  sys::UniqueFd userfault_;
  sys::Pagemap pagemap_;  // of the memory that the process had at the start
  std::vector<Range> followed_;
};

}  // namespace stint::mem
