// Records of descriptors and of the open file descriptions behind them. One description may have many descriptors, in
// several processes; it is recorded once. A record of a kind begins with its Description.
#pragma once

#include "image/codec.h"

namespace stint::image {

// What every open file description has.
struct Description {
  uint64_t id = 0;     // unique in the checkpoint
  uint32_t flags = 0;  // F_GETFL
  int32_t owner = 0;   // F_GETOWN_EX, as the job numbers processes; 0 for none
  int32_t owner_type = 0;
  int32_t signal = 0;  // F_GETSIG
  static constexpr size_t kEncodedSize = 24;
  template <class A>
  void fields(A& a) {
    a("id", id), a("flags", flags), a("owner", owner), a("owner_type", owner_type), a("signal", signal);
  }
};

// A lock on a file, or a lease of it. Leases, flock(2) and open-file-description locks belong to the description, POSIX
// locks to the process.
struct FileLock {
  enum class Kind : uint8_t { kPosix = 0, kFlock = 1, kOfd = 2, kLease = 3 } kind = Kind::kPosix;
  bool exclusive = false;
  uint64_t start = 0, length = 0;  // length 0: to the end, however far the file grows
  template <class A>
  void fields(A& a) {
    a("kind", kind), a("exclusive", exclusive), a("start", start), a("length", length);
  }
};

struct DescriptorRecord {
  static constexpr const char* kName = "descriptor record";
  int32_t pid = 0;  // of the process whose table it is
  int32_t fd = 0;
  bool close_on_exec = false;
  uint64_t description = 0;
  std::vector<FileLock> locks;  // taken through this descriptor; each lock is recorded once
  template <class A>
  void fields(A& a) {
    a("pid", pid), a("fd", fd), a("close_on_exec", close_on_exec), a("description", description), a("locks", locks);
  }
};

// A descriptor whose other end was open outside of the job when the checkpoint was taken with --external=close. What it
// refers to is recorded as if that end had gone: for whoever asks what is not as it was; a restart needs none of it.
struct ClosedEndRecord {
  static constexpr const char* kName = "closed end record";
  int32_t pid = 0;   // of the process whose table it is in
  int32_t fd = 0;    // -1: it waits in a message
  std::string link;  // "pipe:[123]", as /proc shows it
  std::string what;  // "is a TCP connection to 192.0.2.1:80, outside of the job"
  template <class A>
  void fields(A& a) {
    a("pid", pid), a("fd", fd), a("link", link), a("what", what);
  }
};

struct RegularFileRecord {
  static constexpr const char* kName = "regular file record";
  Description description;
  std::string path;       // absolute
  std::string asked_for;  // as the program named it, from the ledger; empty when unknown
  uint64_t position = 0;
  uint64_t file_state = 0;  // id of its FileStateRecord
  template <class A>
  void fields(A& a) {
    a("description", description), a("path", path), a("asked_for", asked_for), a("position", position);
    a("file_state", file_state);
  }
};

struct DirectoryRecord {
  static constexpr const char* kName = "directory record";
  Description description;
  std::string path;
  uint64_t position = 0;
  template <class A>
  void fields(A& a) {
    a("description", description), a("path", path), a("position", position);
  }
};

// A file that the kernel makes up when it is read: /proc, /sys, cgroups. `path` begins with /proc/self where it is the
// process's own.
struct KernelFileRecord {
  static constexpr const char* kName = "kernel file record";
  Description description;
  std::string path;
  uint64_t position = 0;
  template <class A>
  void fields(A& a) {
    a("description", description), a("path", path), a("position", position);
  }
};

// Devices that hold no state of ours: null, zero, full, random, urandom, tty.
struct CharDeviceRecord {
  static constexpr const char* kName = "character device record";
  Description description;
  std::string path;
  uint64_t device = 0;  // st_rdev
  template <class A>
  void fields(A& a) {
    a("description", description), a("path", path), a("device", device);
  }
};

// The slave of the pty that the stand-in made for the job (or the user's terminal in a plain job).
struct TerminalRecord {
  static constexpr const char* kName = "terminal record";
  Description description;
  std::string path;
  int32_t pty = -1;  // opened as /dev/tty, it is the pty of this number, whose master is in the job; -1: the job's own
  template <class A>
  void fields(A& a) {
    a("description", description), a("path", path), a("pty", pty);
  }
};

// Input that waits in a pseudoterminal: a line, or all raw bytes.
struct PtyInput {
  Bytes text;
  bool ended_by_eof = false;
  template <class A>
  void fields(A& a) {
    a("text", text), a("ended_by_eof", ended_by_eof);
  }
};

// Either end of a pseudoterminal whose master is in the job. What both ends share is in the record of the master.
struct PtyRecord {
  static constexpr const char* kName = "pseudoterminal record";
  Description description;
  int32_t number = 0;      // N of /dev/pts/N
  std::string path;        // of the master: ptmx, by the name it was opened by
  bool exclusive = false;  // TIOCEXCL, which each end has for itself
  Bytes modes;             // struct termios2
  uint16_t rows = 0, columns = 0, width = 0, height = 0;
  bool packets = false, locked = false;  // TIOCPKT, TIOCSPTLCK
  bool hung_up = false;                  // the slave was open once and is closed: reading gives EIO
  bool master_gone = false;              // of a slave: it is hung up, and only its number means anything
  bool stopped = false;                  // output is, by TCOOFF or the STOP character
  Bytes output;                          // waits at the master
  std::vector<PtyInput> input;           // waits at the slave: lines, or all bytes in one piece
  Bytes typed;                           // a line that has no end yet
  template <class A>
  void fields(A& a) {
    a("description", description), a("number", number), a("path", path), a("exclusive", exclusive), a("modes", modes);
    a("rows", rows), a("columns", columns), a("width", width), a("height", height), a("packets", packets);
    a("locked", locked), a("hung_up", hung_up), a("master_gone", master_gone), a("stopped", stopped);
    a("output", output), a("input", input), a("typed", typed);
  }
};

// One end of a pipe. The first record of a pipe carries its size and content.
struct PipeRecord {
  static constexpr const char* kName = "pipe record";
  Description description;
  uint64_t pipe = 0;      // inode number: both ends have the same
  std::string path;       // of a FIFO; empty for a pipe
  uint32_t capacity = 0;  // bytes
  Bytes queued;
  std::vector<uint32_t> packets;  // sizes, in packet mode
  bool carries_content = false;
  bool waits_for_writer = false;  // a FIFO open for reading, which nobody has opened for writing since
  template <class A>
  void fields(A& a) {
    a("description", description), a("pipe", pipe), a("path", path), a("capacity", capacity), a("queued", queued);
    a("packets", packets), a("carries_content", carries_content), a("waits_for_writer", waits_for_writer);
  }
};

// Standard input, output or error whose other end is outside the job: the new supervisor's takes its place.
struct StandardStreamRecord {
  static constexpr const char* kName = "standard stream record";
  Description description;
  int32_t stream = 0;  // 0, 1 or 2: which of the supervisor's
  std::string what;    // pipe, socket, terminal ...: as it was
  Bytes queued;        // input that had arrived but was not read yet
  template <class A>
  void fields(A& a) {
    a("description", description), a("stream", stream), a("what", what), a("queued", queued);
  }
};

// An option of a socket that is not what a fresh socket has: setsockopt(SOL_SOCKET, name, value).
struct SocketOption {
  int32_t name = 0;
  Bytes value;
  template <class A>
  void fields(A& a) {
    a("name", name), a("value", value);
  }
};

// Who was at the other end of a unix socket when it was connected, or sent a message: as the job numbers processes.
struct Credentials {
  int32_t pid = 0;
  uint32_t uid = 0, gid = 0;
  bool operator==(const Credentials&) const = default;
  template <class A>
  void fields(A& a) {
    a("pid", pid), a("uid", uid), a("gid", gid);
  }
};

// The file through which others reach a bound unix socket.
struct SocketFile {
  std::string directory;  // in which a relative name was meant; empty for an absolute one
  std::string path;       // absolute: where it is now
  uint32_t mode = 0;      // permissions
  uint32_t uid = 0, gid = 0;
  template <class A>
  void fields(A& a) {
    a("directory", directory), a("path", path), a("mode", mode), a("uid", uid), a("gid", gid);
  }
};

// What waits in a unix socket: a message, or of a stream a piece.
struct QueuedMessage {
  Bytes bytes;
  std::string sender;                  // the name of the socket that it came from
  std::vector<uint64_t> descriptions;  // SCM_RIGHTS
  std::optional<Credentials> credentials;
  template <class A>
  void fields(A& a) {
    a("bytes", bytes), a("sender", sender), a("descriptions", descriptions), a("credentials", credentials);
  }
};

enum class UnixSocketState : uint8_t {
  kAlone = 0,      // never connected, or not any more
  kConnected = 1,  // `peer` is in the checkpoint. Of datagram sockets, the peer may be connected to another or to none
  kPeerGone = 2,   // ... and is closed
  kOutside = 3,    // a datagram socket that sends to one outside of the job, by its name
  kListens = 4,
  kWaits = 5,  // connected to a listener that has not accepted it yet; see its `waiting`
};

// A unix socket. A name is what follows the family in a sockaddr_un: a path with its NUL, or a NUL and an abstract one.
struct UnixSocketRecord {
  static constexpr const char* kName = "unix socket record";
  Description description;
  uint64_t socket = 0;  // inode number
  int32_t type = 0;     // SOCK_*
  UnixSocketState state = UnixSocketState::kAlone;
  uint64_t peer = 0;  // inode number
  std::string name, peer_name;
  std::optional<SocketFile> file;          // only of a name by which the socket can still be reached
  std::string peer_path;                   // kOutside: absolute, where the peer's name is a path
  std::optional<Credentials> credentials;  // SO_PEERCRED
  std::optional<Credentials> holder;       // kWaits: a process that has it, who connects
  bool read_shut = false, write_shut = false;
  bool reset = false;    // the peer is gone with unread data in it: the next call gives ECONNRESET
  bool cut_off = false;  // kPeerGone: the peer was open outside of the job, and may be there still
  bool apart = false;    // ... and the socket is of a network namespace of its own, where the peer's name is free
  uint32_t backlog = 0;  // of a listener
  std::vector<uint64_t> waiting;
  int32_t send_buffer = 0, receive_buffer = 0;
  std::vector<SocketOption> options;
  std::vector<QueuedMessage> queued;  // what it would receive
  template <class A>
  void fields(A& a) {
    a("description", description), a("socket", socket), a("type", type), a("state", state), a("peer", peer);
    a("name", name), a("peer_name", peer_name), a("file", file), a("peer_path", peer_path);
    a("credentials", credentials), a("holder", holder), a("read_shut", read_shut), a("write_shut", write_shut);
    a("reset", reset), a("cut_off", cut_off), a("apart", apart), a("backlog", backlog), a("waiting", waiting);
    a("send_buffer", send_buffer), a("receive_buffer", receive_buffer), a("options", options), a("queued", queued);
  }
};

struct EventfdRecord {
  static constexpr const char* kName = "eventfd record";
  Description description;
  uint64_t count = 0;
  bool semaphore = false;
  template <class A>
  void fields(A& a) {
    a("description", description), a("count", count), a("semaphore", semaphore);
  }
};

struct TimerfdRecord {
  static constexpr const char* kName = "timerfd record";
  Description description;
  int32_t clock = 0;
  uint64_t ticks = 0;                     // expirations not read yet
  uint32_t settime_flags = 0;             // TFD_TIMER_*
  int64_t value_ns = 0, interval_ns = 0;  // time left; 0: disarmed
  int64_t deadline_ns = 0;                // when it goes off next, on its clock as the job reads it
  template <class A>
  void fields(A& a) {
    a("description", description), a("clock", clock), a("ticks", ticks), a("settime_flags", settime_flags);
    a("value_ns", value_ns), a("interval_ns", interval_ns), a("deadline_ns", deadline_ns);
  }
};

struct SignalfdRecord {
  static constexpr const char* kName = "signalfd record";
  Description description;
  uint64_t mask = 0;
  template <class A>
  void fields(A& a) {
    a("description", description), a("mask", mask);
  }
};

struct EpollWatch {
  int32_t fd = 0;            // the number at the time of adding
  uint64_t description = 0;  // what it watches
  uint32_t events = 0;
  uint64_t data = 0;
  template <class A>
  void fields(A& a) {
    a("fd", fd), a("description", description), a("events", events), a("data", data);
  }
};

struct EpollRecord {
  static constexpr const char* kName = "epoll record";
  Description description;
  std::vector<EpollWatch> watches;
  template <class A>
  void fields(A& a) {
    a("description", description), a("watches", watches);
  }
};

struct InotifyWatch {
  int32_t watch = 0;  // its number ("wd")
  uint32_t mask = 0;
  std::string path;          // as the job sees it
  uint64_t description = 0;  // of the job, that has the watched inode open; 0 for none
  bool directory = false;
  template <class A>
  void fields(A& a) {
    a("watch", watch), a("mask", mask), a("path", path), a("description", description), a("directory", directory);
  }
};

struct InotifyRecord {
  static constexpr const char* kName = "inotify record";
  Description description;
  int32_t last_watch = 0;             // the number that was given last: the next is one higher
  std::vector<InotifyWatch> watches;  // by number
  template <class A>
  void fields(A& a) {
    a("description", description), a("last_watch", last_watch), a("watches", watches);
  }
};

struct PidfdRecord {
  static constexpr const char* kName = "pidfd record";
  Description description;
  int32_t pid = 0;      // as the job numbers it; 0: it has ended and was waited for
  bool thread = false;  // PIDFD_THREAD
  template <class A>
  void fields(A& a) {
    a("description", description), a("pid", pid), a("thread", thread);
  }
};

// O_PATH of what is neither a regular file nor a directory: a symbolic link, a device, a FIFO or socket by its name.
struct PathOnlyRecord {
  static constexpr const char* kName = "path record";
  Description description;
  std::string path;
  uint32_t type = 0;  // S_IFMT
  template <class A>
  void fields(A& a) {
    a("description", description), a("path", path), a("type", type);
  }
};

struct MqueueRecord {
  static constexpr const char* kName = "message queue descriptor record";
  Description description;
  std::string name;  // of a PosixQueueRecord
  template <class A>
  void fields(A& a) {
    a("description", description), a("name", name);
  }
};

struct MemfdRecord {
  static constexpr const char* kName = "memfd record";
  Description description;
  uint64_t shared_memory = 0;  // id of its SharedMemoryRecord
  uint64_t position = 0;
  template <class A>
  void fields(A& a) {
    a("description", description), a("shared_memory", shared_memory), a("position", position);
  }
};

}  // namespace stint::image
