// What is added to semaphores when a process ends (SEM_UNDO). The kernel shows it nowhere, but it refuses an operation
// that would take it out of its range (ERANGE), and an array of operations is done whole or not at all. So an array
// that cannot succeed, since it ends with what would have to wait (EAGAIN), tells by which of the two it fails on which
// side of a number the adjustment lies; some fifteen of them tell the adjustment, and nothing has changed.
#pragma once

#include <span>

#include "image/ipc_records.h"
#include "tracee/table.h"

namespace stint::ipc {

// A process of the job, stopped, and our hands in it.
struct Member {
  tracee::StoppedProcess& process;
  tracee::Hands& hands;
  int32_t pid = 0;  // as the job numbers it
};

// Completes the records, whose values are those of now.
Result<> capture_undo(std::span<Member> members, std::vector<image::SemaphoreSetRecord>& sets);

// In the process; the semaphores are there with their values, which stay.
Result<> restore_undo(Member& member, const std::vector<image::SemaphoreSetRecord>& sets);

}  // namespace stint::ipc
