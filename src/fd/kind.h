// A kind of descriptor: how it is recognised, recorded, and made again. Each kind lives in one file (pipe.cc,
// eventfd.cc
// ...) that defines one `const Kind`; kinds.cc lists them all in one explicit table. What no kind recognises is refused
// by name.
//
// Capture looks at the target from outside, while it is stopped. Restore is ordinary code, single-threaded, in one
// maker that makes the descriptions of all processes of the job, before they are there: `restore` makes the description
// at any number, `finish` does what needs the other descriptions (epoll). The driver (restore.cc) then brings them to
// their numbers in each process. Who made a description shows in few of them; those, and what needs another process to
// be there, are made late, by calls injected into their holder (`make_in`).
#pragma once

#include <sys/stat.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/remote.h"
#include "base/result.h"
#include "image/fd_records.h"
#include "image/record.h"
#include "net/protocol_options.h"
#include "proc/fdinfo.h"
#include "sys/fd.h"
#include "sys/unix_socket.h"

namespace stint::fd {

class TcpSurvey;  // fd/tcp_survey.h
class UdpSurvey;  // fd/udp_survey.h

// What can be seen of one descriptor from outside, before its kind is known.
struct Facts {
  Pid pid;
  Pid seen_as;  // under which its table is found: see tracee/first_thread
  JobPid job_pid;
  RemoteFd fd;
  std::string link;    // readlink of /proc/PID/fd/N: "pipe:[123]", "/etc/passwd", "anon_inode:[eventfd]" ...
  struct stat stat;    // of the object behind it
  proc::FdInfo info;   // /proc/PID/fdinfo/N
  sys::UniqueFd ours;  // pidfd_getfd duplicate: the same open file description
  // It is in no table but in a message that waits in this socket ("fd 5") of the process; `fd` is negative then, and no
  // other has it.
  std::string waits_in = {};
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

// A message that waits in a unix socket. What it carries has Facts and a description id like any other descriptor.
struct WaitingMessage {
  sys::UnixMessage message;
  std::vector<std::pair<int, int>> carried;  // process and (negative) number
};

// The ends of pseudoterminals in the job, by the number of the pty: unique in one instance of devpts only.
struct PtyEnds {
  std::multimap<int, const Facts*> masters, slaves;
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
  // The job has an IPC namespace of its own: message queues are its alone.
  bool own_ipc = false;
  // Names, as the processes know them, under which files of theirs may be found: from the ledger. Hints.
  std::vector<std::string> names = {};
  // `stint doctor` asks about a process that runs on: leave queues alone.
  bool only_look = false;
  // Timers that were due when the job was stopped have been given the time to tick (fd/timerfd.cc).
  bool due_timers_have_ticked = false;
  // Inode numbers of the pipes whose content is in a record already.
  std::set<uint64_t> contents_recorded = {};
  // By inode number of the socket (fd/queued.h).
  std::map<uint64_t, std::vector<WaitingMessage>> waiting_messages = {};
  // Who connected to this socket, as the process that has it sees that. Unset: number_in_job() must do.
  std::function<Result<std::optional<ucred>>(const Facts&)> ask_peer_credentials = {};
  // F_GETFD of the process itself, where its fdinfo does not tell.
  std::function<Result<bool>(const Facts&)> ask_close_on_exec = {};
  // Likewise, who sent the message at SO_PEEK_OFF.
  std::function<Result<std::optional<ucred>>(const Facts&)> ask_sender_credentials = {};
  // By inode number: the unix socket whose connection waits, and the listener that has not accepted it. Filled when
  // first asked for.
  std::optional<std::map<uint64_t, uint64_t>> waiting_connections = {};
  // Filled by the kind of standard streams.
  std::vector<UnreadInput> unread_input = {};
  // One entry for each description.
  PtyEnds ptys = {};
  // --external=close: what has its other end outside of the job is recorded as if that end had gone.
  bool close_external = false;
  std::map<uint64_t, std::string> cut_off = {};     // those, by the id of the description: what each was
  std::vector<image::ClosedEndRecord> closed = {};  // ... by descriptor. Filled by the driver
  // The kinds' own, while they work.
  std::shared_ptr<const TcpSurvey> tcp = {};
  std::shared_ptr<const UdpSurvey> udp = {};
  net::OptionReader options = {};
};

// The two ends of a pipe (read, write) that is being made again: held until everything is in place.
struct Ends {
  sys::UniqueFd first, second;
};

struct UnixSockets;

struct RestoreContext {
  const image::Source& source;
  JobPid maker{};                              // the process in which all this runs
  int streams[3] = {-1, -1, -1};               // the new supervisor's standard streams
  int terminal = -1;                           // the slave of the job's terminal
  std::map<uint64_t, int> made = {};           // description id -> its number in the maker
  std::set<uint64_t> late = {};                // ids of those that are made late
  std::map<uint64_t, int> shared_memory = {};  // id -> descriptor, filled, open for reading and writing
  // Opens the file of a FileStateRecord, checked before, with these O_* flags.
  std::function<Result<sys::UniqueFd>(uint64_t file_state, int flags)> open_file = {};
  // A standard stream of the program that first gives `queued`, which had arrived before the checkpoint and was not
  // read yet, and then all that the new supervisor's stream gives. Whoever restores makes a pipe, fills it, and lets
  // the process that relays (never the program itself) copy the rest. Only called when there is something queued.
  std::function<Result<sys::UniqueFd>(int stream, ByteView queued)> prefilled_stream = {};

  // The kinds' own, while they work.
  std::map<uint64_t, Ends> pipes = {};             // by inode number
  std::shared_ptr<UnixSockets> unix_sockets = {};  // fd/unix_making.h
  std::map<uint64_t, sys::UniqueFd> fifos = {};  // by inode number; open for reading and writing, so that no open waits
  std::set<uint64_t> shared_memory_taken = {};
  std::map<int, sys::UniqueFd> ptys = {};  // masters, by the number of the slave
  // Of ptys that control a session inside: the numbers that are asked for, and a slave for each, to be taken by its
  // leader. No process keeps these.
  std::map<int, int> controlling = {};
  // By inode number: all that is not yet taken.
  std::optional<std::map<uint64_t, sys::UniqueFd>> tcp = {}, udp = {};
};

struct Receiver;  // fd/table.h

// What can be said when all is in place and nobody runs yet.
struct LastLook {
  std::string root;  // the job's root directory, as a path of ours
  // A duplicate of ours; not valid when no process has it.
  std::function<Result<sys::UniqueFd>(uint64_t description)> description;
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
  // Makes the description, or one like it, in the maker.
  Result<sys::UniqueFd> (*restore)(ByteView record, RestoreContext& context);
  // When all descriptions are made (context.made); null when there is nothing to do. `fd` is its number in the maker.
  Result<> (*finish)(ByteView record, int fd, RestoreContext& context) = nullptr;
  // Whether this one must be made by a process that has it, when all processes of the job are there. Null: never.
  bool (*is_late)(ByteView record, JobPid maker) = nullptr;
  // Makes a late one by calls in its holder; its number there.
  Result<int> (*make_in)(ByteView record, Receiver& holder) = nullptr;
  // The last thing before the job goes on, from outside: for what would notice how the rest of it was made again. `fd`
  // is a duplicate of ours.
  Result<> (*settle)(ByteView record, int fd, const LastLook& job) = nullptr;
  // The description is shared with somebody outside: of its status flags only O_NONBLOCK is put back.
  bool shared_with_outside = false;
};

// All kinds, in the order in which they are asked (kinds.cc).
std::span<const Kind* const> kinds();
// The kind of a record, null when there is none.
const Kind* kind_of(image::RecordType type);

// "pid 42: fd 5 (anon_inode:inotify): WHY; REMEDY", kRefused.
Error refusal(const Facts& facts, std::string_view why, std::string_view remedy);
// Likewise kNotNow.
Error passing_refusal(const Facts& facts, std::string_view why, std::string_view remedy);

// The other end of this description is open outside of the job. Refused, with --external=close named as a way out; when
// the checkpoint was asked for that, it is noted, and the kind records the description as if the other end had gone at
// this moment.
Result<> cut_off(const Facts& facts, CaptureContext& context, std::string_view why, std::string_view remedy);

// The job's number of a process that we see under `number`; 0 when that cannot be told.
int number_in_job(const Facts& facts, const CaptureContext& context, int number);

// How to refuse what no kind recognises (refused.cc).
Error refuse_unknown(const Facts& facts);

// Encodes a record of a kind and gives it to the sink.
template <class Record>
Result<> put_record(image::Sink& sink, image::RecordType type, const Record& record) {
  return sink.put({.type = type, .version = 1, .required = true, .payload = image::encode(record)});
}

}  // namespace stint::fd
