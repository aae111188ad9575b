// The kinds of record, and the streams that they travel in. The numbers are part of the format: never reuse one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace stint::image {

enum class RecordType : uint32_t {
  kEnd = 0,  // how many records there were, and their hash: a stream without it is cut short
  kJob = 1,
  kProcess = 2,
  kThread = 3,
  kMappedFile = 4,  // an ELF or data file that mappings come back from
  kVma = 5,
  kSharedMemory = 6,  // anonymous shared memory, or a memfd's content: pages under its object id
  kDescriptor = 7,    // a number in a table, and the description that it refers to
  kFileState = 8,     // a regular file that the job writes, as it was
  kAgent = 9,         // the agent's ledger
  kZombie = 11,       // a process that has ended and was not waited for
  kSysvSegment = 12,  // System V shared memory: its pages lie under its id (image/ipc_records.h)
  kSysvMessageQueue = 13,
  kSysvSemaphoreSet = 14,
  kPosixQueue = 15,  // a POSIX message queue, whether or not anybody has it open
  kClosedEnd = 16,   // a descriptor whose other end was outside, and is recorded as gone (--external=close)
  kAioRing = 17,     // an asynchronous I/O context, or what is left of one in a child
  kPageIndex = 10,   // where the blocks of page data lie: image/page_index.h. The last one before the end

  // One number for each kind of open file description: fd/kinds.cc.
  kRegularFile = 32,
  kDirectory = 33,
  kCharDevice = 34,
  kTerminal = 35,
  kPipe = 36,
  kFifo = 37,
  kUnixSocket = 38,
  kEventfd = 39,
  kTimerfd = 40,
  kSignalfd = 41,
  kEpoll = 42,
  kMemfd = 43,
  kPidfd = 44,
  kInotify = 45,
  kStandardStream = 46,  // a pipe, socket or terminal whose other end is outside: taken from the new supervisor
  kKernelFile = 47,      // of /proc, /sys, cgroups: opened again by its path
  kMqueue = 54,
  kPathOnly = 55,  // O_PATH of neither a file nor a directory
  kPtyMaster = 51,
  kPtySlave = 52,
  kTcp = 48,
  kUdp = 49,
  kNetlink = 50,
};

// One record as it is in a stream.
struct Record {
  RecordType type = RecordType::kEnd;
  uint16_t version = 1;
  bool required = true;  // a reader that does not know the type or the version must refuse the image
  Bytes payload;
};

// A run of page data. `space` says whose: the job pid of the process for private memory, or an object id (its top bit
// set, see kObjectSpace) for a shared memory object or a saved file; `offset` is the address, or the offset in the
// object.
inline constexpr uint64_t kObjectSpace = uint64_t{1} << 63;
inline constexpr uint64_t kLedgerSpace = kObjectSpace | uint64_t{1} << 60;  // what the agent's ledger held
struct PageRun {
  uint64_t space = 0;
  uint64_t offset = 0;
  uint64_t size = 0;  // bytes: a multiple of the page size, but for the tail of a file

  template <class A>
  void fields(A& a) {
    a("space", space);
    a("offset", offset);
    a("size", size);
  }
};

// Where page data waits while it is compressed and written. Owned by whoever holds it; give it back by destroying it.
class PageBuffer {
 public:
  virtual ~PageBuffer() = default;
  virtual std::byte* data() = 0;
  virtual size_t size() const = 0;
};

// Where records and pages go: the store, or the wire. One thread calls it.
class Sink {
 public:
  virtual ~Sink() = default;

  // Keeps the record. Order is kept.
  virtual Result<> put(Record record) = 0;

  // A buffer of kPageBufferSize bytes. Blocks only while the memory that the sink may use is full of unwritten pages.
  virtual Result<std::unique_ptr<PageBuffer>> page_buffer() = 0;

  // Takes a block: the bytes of `runs`, one after another, from the start of the buffer. All runs are of one space, in
  // ascending order. Returns at once: hashing, compressing and writing happen on the sink's own threads; a failure
  // there is returned by a later call.
  virtual Result<> put_pages(std::vector<PageRun> runs, std::unique_ptr<PageBuffer> buffer) = 0;

  // All of a space that is to be kept: ranges by address. What was put of it and lies outside is dropped; of what was
  // put more than once, the last counts. `unchanged`, a part of it, is what it was in base(), and need not have been
  // put. A page that is to be kept and was never put makes commit() fail. To be called once for a space, after all of
  // it was put; a space for which it is not called keeps all.
  virtual Result<> settle(uint64_t space, std::vector<Range> pages, std::vector<Range> unchanged) = 0;

  // While held, a sink leaves the processors to whoever copies, as long as it has buffers to give: for moments in which
  // a program waits. Ends with commit() at the latest.
  virtual void hold(bool /*held*/) {}

  // The number of the checkpoint on which this one leans; 0 for none.
  virtual uint64_t base() const { return 0; }

  // Everything is durable and visible under its name after this, or nothing is.
  virtual Result<> commit() = 0;
};

// Holds a sink for as long as it is there.
class Quiet {
 public:
  explicit Quiet(Sink& sink) : sink_(sink) { sink_.hold(true); }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;
  ~Quiet() { sink_.hold(false); }

 private:
  Sink& sink_;
};

inline constexpr size_t kPageBufferSize = 1 << 20;

// Where a block of page data lies, for a reader that wants to let the kernel move it: only for blocks stored raw.
struct RawLocation {
  std::string path;
  uint64_t offset = 0;
};

// Where records and pages come from.
class Source {
 public:
  virtual ~Source() = default;

  // All records, in order. Their checksums were verified.
  virtual const std::vector<Record>& records() const = 0;

  // A block of page data: the bytes of its runs, one after another. Zero pages may have been taken out of a run that
  // was put; they come back as blocks with all_zero, which hold no bytes.
  struct Block {
    uint64_t number = 0;
    std::vector<PageRun> runs;
    bool all_zero = false;
  };

  // All blocks of a space (by the offset of their first run); together they hold each byte that was put once.
  virtual const std::vector<Block>& blocks(uint64_t space) const = 0;

  // Fills `to` (the sum of the runs' sizes, at most kPageBufferSize) with the block's bytes, verified. May be called
  // from several threads at once.
  virtual Result<> read(const Block& block, std::byte* to) const = 0;

  // Verifies the stored bytes of a raw block without copying them, and says where they are; empty when it is
  // compressed.
  virtual Result<std::optional<RawLocation>> raw_location(const Block& block) const = 0;
};

}  // namespace stint::image
