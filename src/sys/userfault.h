// Following writes to another process's memory: userfaultfd(2) in its asynchronous write-protect mode, which is open to
// everybody since Linux 6.7. The kernel takes the faults itself: nobody waits, and who asks PAGEMAP_SCAN
// (sys/pagemap.h) is told. What is registered stays so until the last descriptor is closed, which takes every trace of
// it off the mappings; or until the mapping goes or moves.
//
// The descriptor stands for the memory of the process that has made it, whoever has it now.
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

// For userfaultfd(2): close-on-exec, and of use to who has no privilege.
extern const int kUserfaultFlags;

// Puts a new one into the mode. EINVAL: the kernel has none such.
Result<> set_asynchronous_write_protect(int userfault);

// From now on the mappings in the range can be protected, and PAGEMAP_SCAN tells what is written to in them. EBUSY: the
// program has registered one of them with a userfaultfd of its own.
Result<> follow_writes(int userfault, Range range);

// Takes the protection off again, as far as the range is followed.
Result<> unprotect(int userfault, Range range);

// Whether this kernel has all this; tried on ourselves, the second only once.
Result<> try_to_follow_writes();
bool can_follow_writes();

}  // namespace stint::sys
