// Records of descriptors and of the open file descriptions behind them. One description may have many descriptors, in
// several processes; it is recorded once. A record of a kind begins with its Description.
#pragma once

#include "image/codec.h"

namespace stint::image {

// What every open file description has.
struct Description {
  uint64_t id = 0;      // unique in the checkpoint
  uint32_t flags = 0;   // F_GETFL
  int32_t owner = 0;    // F_GETOWN_EX, as the job numbers processes; 0 for none
  int32_t owner_type = 0;
  int32_t signal = 0;   // F_GETSIG
  static constexpr size_t kEncodedSize = 24;
  template <class A>
  void fields(A& a) {
    a("id", id), a("flags", flags), a("owner", owner), a("owner_type", owner_type), a("signal", signal);
  }
};

// A lock on a file. flock(2) and open-file-description locks belong to the description, POSIX locks to the process.
struct FileLock {
  enum class Kind : uint8_t { kPosix = 0, kFlock = 1, kOfd = 2 } kind = Kind::kPosix;
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

struct RegularFileRecord {
  static constexpr const char* kName = "regular file record";
  Description description;
  std::string path;      // absolute
  std::string asked_for; // as the program named it, from the ledger; empty when unknown
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
  template <class A>
  void fields(A& a) {
    a("description", description), a("path", path);
  }
};

// One end of a pipe. The first record of a pipe carries its size and content.
struct PipeRecord {
  static constexpr const char* kName = "pipe record";
  Description description;
  uint64_t pipe = 0;  // inode number: both ends have the same
  std::string path;   // of a FIFO; empty for a pipe
  uint32_t capacity = 0;  // bytes
  Bytes queued;
  std::vector<uint32_t> packets;  // sizes, in packet mode
  bool carries_content = false;
  template <class A>
  void fields(A& a) {
    a("description", description), a("pipe", pipe), a("path", path), a("capacity", capacity), a("queued", queued);
    a("packets", packets), a("carries_content", carries_content);
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

// One end of a socketpair(2) within the job.
struct UnixSocketRecord {
  static constexpr const char* kName = "unix socket record";
  Description description;
  uint64_t socket = 0, peer = 0;  // inode numbers
  int32_t type = 0;               // SOCK_*
  int32_t send_buffer = 0, receive_buffer = 0;
  bool pass_credentials = false;
  bool read_shut = false, write_shut = false;
  int64_t receive_timeout_us = 0, send_timeout_us = 0;
  std::vector<Bytes> queued;  // what this end would receive: one for each message, or one piece for a stream
  bool connected = true;      // false: made by socket(2) and never connected; there is no peer
  bool peer_gone = false;     // the other end is closed (peer is 0)
  bool reset = false;         // ... with unread data in it: the next call gives ECONNRESET
  int32_t peek_offset = -1;   // SO_PEEK_OFF
  template <class A>
  void fields(A& a) {
    a("description", description), a("socket", socket), a("peer", peer), a("type", type);
    a("send_buffer", send_buffer), a("receive_buffer", receive_buffer), a("pass_credentials", pass_credentials);
    a("read_shut", read_shut), a("write_shut", write_shut), a("receive_timeout_us", receive_timeout_us);
    a("send_timeout_us", send_timeout_us), a("queued", queued), a("connected", connected), a("peer_gone", peer_gone);
    a("reset", reset), a("peek_offset", peek_offset);
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
  uint64_t ticks = 0;           // expirations not read yet
  uint32_t settime_flags = 0;   // TFD_TIMER_*
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
  int32_t fd = 0;             // the number at the time of adding
  uint64_t description = 0;   // what it watches
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
