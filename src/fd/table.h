// The descriptor tables of a job: what is in them, recorded and put back. The drivers know the order of things; the
// kinds (kind.h) know what each thing is.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "fd/kind.h"
#include "tracee/table.h"

namespace stint::fd {

// Makes room in our own table for a duplicate of all that these processes have, before the job stands still: see
// sys::grow_descriptor_table().
void make_room(std::span<const Pid> processes);

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

// The descriptor tables of a checkpoint, by process (as the job numbers them), each in the order of its numbers.
using Tables = std::map<int32_t, std::vector<image::DescriptorRecord>>;
Result<Tables> read_tables(const image::Source& source);
// The lowest number that is in none of them: from here on is room for what a maker makes.
int first_free_number(const Tables& tables);

// The maker's part, as ordinary code in the process that becomes the root: makes every description of the job but the
// late ones (Kind::make_in), once each, takes the locks that belong to descriptions, and gives the number of each: one
// that means the same description to every process that has it, or one of at least `floor`. Every process of the job
// inherits the numbers.
Result<std::map<uint64_t, int>> make_descriptions(const image::Source& source, RestoreContext& context,
                                                  const Tables& tables, int floor);
Result<> take_lock(int fd, const image::FileLock& lock);

// A process that is being restored, from outside. It has the maker's numbers, and is about to get its own.
struct Receiver {
  tracee::StoppedProcess& process;
  tracee::Hands& hands;
  JobPid pid;
};

// Gives each process its table, one after another.
class Distribution {
 public:
  // All of these must outlive it. `made`, `floor`: of make_descriptions().
  static Result<Distribution> make(const image::Source& source, const Tables& tables,
                                   const std::map<uint64_t, int>& made, int floor);

  // When all processes of the job are there. Afterwards the process has its own descriptors and no other.
  Result<> give(Receiver& receiver);

  // The same for one that has its table from its parent, which has its own by now: only locks are still to be taken.
  Result<> give_shared(Receiver& receiver);

  // When all is in place and nothing runs yet: what must not notice how the rest was made (Kind::settle).
  Result<> settle();

 private:
  Distribution(const image::Source& source, const Tables& tables, const std::map<uint64_t, int>& made, int floor)
      : source_(source), tables_(tables), made_(made), floor_(floor) {}
  Result<int> make_late(Receiver& receiver, uint64_t description);
  Result<int> fetch_late(Receiver& receiver, JobPid holder, int number);
  Result<> set_owners(Receiver& receiver, const std::vector<image::DescriptorRecord>& table);
  Result<> take_locks(Receiver& receiver, const std::vector<image::DescriptorRecord>& table);

  const image::Source& source_;
  const Tables& tables_;
  const std::map<uint64_t, int>& made_;
  int floor_;
  std::map<uint64_t, std::pair<JobPid, int>> late_;     // who has it, under which of its own numbers
  std::map<uint64_t, image::Description> owners_;       // those whose owner is still to be set
  std::map<uint64_t, std::pair<Pid, RemoteFd>> given_;  // of each description, one descriptor
};

// The table of kinds as doc/what-survives.md shows it.
std::string describe_kinds_markdown();

}  // namespace stint::fd
