// A kind of descriptor: how it is recognised, recorded, and made again. Each kind lives in one file (pipe.cc,
// eventfd.cc
// ...) that defines one `const Kind`; kinds.cc lists them all in one explicit table. What no kind recognises is refused
// by name.
//
// Capture looks at the target from outside, while it is stopped. Restore is ordinary code that runs inside the new
// process, single-threaded, before it becomes the target: `restore` makes the description at any number, the driver
// (table.cc) moves it to its numbers, `finish` does what needs everybody to be in place (epoll).
#pragma once

#include <sys/stat.h>

#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/remote.h"
#include "base/result.h"
#include "image/fd_records.h"
#include "image/record.h"
#include "proc/fdinfo.h"
#include "sys/fd.h"

namespace stint::fd {

// What can be seen of one descriptor from outside, before its kind is known.
struct Facts {
  Pid pid;
  JobPid job_pid;
  RemoteFd fd;
  std::string link;    // readlink of /proc/PID/fd/N: "pipe:[123]", "/etc/passwd", "anon_inode:[eventfd]" ...
  struct stat stat;    // of the object behind it
  proc::FdInfo info;   // /proc/PID/fdinfo/N
  sys::UniqueFd ours;  // pidfd_getfd duplicate: the same open file description
};

// What the rest of a capture does for a kind. Implemented above fd/ (files/, mem/), so that kinds know none of it.
class FileRegistry {
 public:
  virtual ~FileRegistry() = default;
  // Notes that the job holds this regular file; `fd` is a descriptor of ours for it (any access mode; may be O_PATH).
  // Returns the id of its FileStateRecord. The same file (device, inode) always gets the same id.
  virtual Result<uint64_t> note(int fd, const struct stat& stat, std::string_view path, bool unlinked,
                                bool written) = 0;
};

class SharedMemoryRegistry {
 public:
  virtual ~SharedMemoryRegistry() = default;
  // Notes shared memory that has no name in the file system: a memfd, or what /dev/zero or MAP_ANONYMOUS made.
  // Returns the id of its SharedMemoryRecord. Its pages are saved once.
  virtual Result<uint64_t> note(int fd, const struct stat& stat, std::string_view name) = 0;
};

// The standard streams that the job was given and whose other end is outside. Known from the job's state directory.
struct OutsideStream {
  int stream = 0;  // 0, 1, 2
  uint64_t device = 0, inode = 0;
};

// Bytes of an outside stream that are in the checkpoint as well as in the stream: a program that is stopped by its
// checkpoint has taken them with it.
struct UnreadInput {
  sys::UniqueFd fd;
  size_t size = 0;
};

struct CaptureContext {
  image::Sink& sink;
  FileRegistry& files;
  SharedMemoryRegistry& shared_memory;
  std::vector<OutsideStream> outside_streams = {};
  uint64_t terminal_device = 0;  // st_rdev of the job's own terminal; 0 for none
  // Every descriptor of the job by the inode of its object: tells whether the other end of a pipe is inside.
  std::multimap<uint64_t, const Facts*> by_inode = {};
  std::map<std::pair<int, int>, const Facts*> by_number = {};  // by process (Pid) and descriptor number
  // Ids of descriptions, by process (Pid) and descriptor number, for epoll's watches. Filled by the driver.
  std::map<std::pair<int, int>, uint64_t> description_of = {};
  // The job's number of a process, thread or group that we see under `number`; 0 when it is not in the job. Unset:
  // there is only the process of the descriptor itself.
  std::function<int(int number)> job_number = {};
  // The path as the program asked for it, from the ledger; may be unset, may answer "".
  std::function<std::string(const Facts&)> asked_for = {};
  // The job's clocks minus ours (a time namespace).
  int64_t monotonic_offset_ns = 0, boottime_offset_ns = 0;
  // `stint doctor` asks about a process that runs on: leave queues alone.
  bool only_look = false;
  // Inode numbers of the pipes whose content is in a record already.
  std::set<uint64_t> contents_recorded = {};
  // Filled by the kind of standard streams.
  std::vector<UnreadInput> unread_input = {};
};

// The two ends of a pipe (read, write) or of a socket pair that is being made again: held until everything is in place.
struct Ends {
  sys::UniqueFd first, second;
};

struct RestoreContext {
  const image::Source& source;
  int streams[3] = {-1, -1, -1};          // the new supervisor's standard streams
  int terminal = -1;                      // the slave of the job's terminal
  std::map<uint64_t, int> made = {};           // description id -> a descriptor of it in this process
  std::map<uint64_t, int> shared_memory = {};  // id -> descriptor, filled, open for reading and writing
  // Opens the file of a FileStateRecord, checked before, with these O_* flags.
  std::function<Result<sys::UniqueFd>(uint64_t file_state, int flags)> open_file = {};
  // A standard stream of the program that first gives `queued`, which had arrived before the checkpoint and was not
  // read yet, and then all that the new supervisor's stream gives. Whoever restores makes a pipe, fills it, and lets
  // the process that relays (never the program itself) copy the rest. Only called when there is something queued.
  std::function<Result<sys::UniqueFd>(int stream, ByteView queued)> prefilled_stream = {};

  // The kinds' own, while they work.
  std::map<uint64_t, Ends> pipes = {};           // by inode number
  std::map<uint64_t, Ends> socket_pairs = {};    // by the lower inode number of the two, whose end is `first`
  std::map<uint64_t, sys::UniqueFd> fifos = {};  // by inode number; open for reading and writing, so that no open waits
  std::set<uint64_t> shared_memory_taken = {};
};

struct Kind {
  const char* name;        // as an error shows it: "pipe"
  const char* kept;        // for doc/what-survives.md: what is as it was
  const char* refused;     // likewise: when a checkpoint is refused
  image::RecordType type;  // of its record
  // Nothing else may be asked of a description that is not of this kind.
  bool (*recognises)(const Facts&, const CaptureContext&);
  // Writes exactly one record of `type` for the description that `facts` shows. kRefused names what cannot be kept and
  // why.
  Result<> (*capture)(const Facts& facts, const image::Description& description, CaptureContext& context);
  // Makes the description, or one like it, in this process.
  Result<sys::UniqueFd> (*restore)(ByteView record, RestoreContext& context);
  // After all descriptors have their numbers; null when there is nothing to do. `fd` is one of its numbers.
  Result<> (*finish)(ByteView record, int fd, RestoreContext& context) = nullptr;
  // The description is shared with somebody outside: of its status flags only O_NONBLOCK is put back.
  bool shared_with_outside = false;
};

// All kinds, in the order in which they are asked (kinds.cc).
std::span<const Kind* const> kinds();
// The kind of a record, null when there is none.
const Kind* kind_of(image::RecordType type);

// "pid 42: fd 5 (anon_inode:inotify): WHY; REMEDY", kRefused.
Error refusal(const Facts& facts, std::string_view why, std::string_view remedy);

// How to refuse what no kind recognises (refused.cc).
Error refuse_unknown(const Facts& facts);

// Encodes a record of a kind and gives it to the sink.
template <class Record>
Result<> put_record(image::Sink& sink, image::RecordType type, const Record& record) {
  return sink.put({.type = type, .version = 1, .required = true, .payload = image::encode(record)});
}

}  // namespace stint::fd
