// The descriptor tables of a job: what is in them, recorded and put back. The drivers know the order of things; the
// kinds (kind.h) know what each thing is.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "fd/kind.h"

namespace stint::fd {

// Everything in one process's table, by number. The process should be stopped, else numbers may come and go meanwhile.
// Every Facts holds a duplicate of ours: the soft limit of open files of this process is raised as far as that takes.
Result<std::vector<Facts>> look(Pid pid, JobPid job_pid);

// Writes one record for each open file description of the job, epoll sets last, and then a DescriptorRecord for each
// descriptor. `processes`: what look() gave, one for each; they must outlive the call. Fills the maps of the context
// that say so. Refuses the first thing that cannot be kept.
Result<> capture_descriptors(std::span<const std::vector<Facts>> processes, CaptureContext& context);

// For `stint doctor`: every descriptor that would be refused, with the reason, as one line each. Harmless to a process
// that runs.
std::vector<Error> refusals(std::span<const std::vector<Facts>> processes,
                            const std::vector<OutsideStream>& outside_streams, uint64_t terminal_device);

// The numbers that the process's table will have, in order.
Result<std::vector<int>> numbers_of(const image::Source& source, JobPid pid);

// Moves those of our descriptors that stand on a number which the process will have. Gives old and new numbers; the
// caller, who owns them, must use the new ones from here on (the old ones are closed).
Result<std::map<int, int>> make_room(const image::Source& source, JobPid pid, std::span<const int> keep);

// A POSIX lock that the process held. Closing any descriptor of the file drops it: whoever closes one later takes the
// lock again.
struct PosixLock {
  int fd = 0;
  image::FileLock lock;
};

// Runs in the new process, single-threaded. Makes every description that the process has a descriptor of (but for those
// that are in context.made already), puts each under its numbers and closes everything that is neither its own nor in
// `keep`. No number in `keep`, nor any descriptor in the context, may be one of numbers_of(): see make_room().
// context.made says afterwards under which number each description can be found.
Result<std::vector<PosixLock>> restore_descriptors(const image::Source& source, RestoreContext& context, JobPid pid,
                                                   std::span<const int> keep);
Result<> take_lock(int fd, const image::FileLock& lock);

// The table of kinds as doc/what-survives.md shows it.
std::string describe_kinds_markdown();

}  // namespace stint::fd
