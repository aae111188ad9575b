// The ledger: what the kernel forgets about a job's processes, written by the agent inside each of them
// (agent/ledger.cc) into one file that all of them map shared, and read from outside by abi/ledger_reader.h. The page
// cache keeps it when a process is killed, and exec does not touch it.
//
//   LedgerHeader | owner words (one per chunk) | chunk 0 | chunk 1 | ...
//
// A process owns one or more chunks: their owner words hold its pid (low half) and the low half of its incarnation. A
// chunk is a LedgerChunk and then entries, each a LedgerEntry, its kind's own fields and its text. A word is written
// last to make an entry true (LedgerEntry::kind), so that a process may be stopped or killed at any instruction.
// Entries start at multiples of kLedgerGranule; a granule of zeros is the beginning of an entry whose writer got no
// further than reserving it.
//
// Everything in it is a hint: a descriptor may have been closed and made again by a raw system call. Who uses a name
// from here holds it against what the kernel tells (device and inode) first.
//
// Freestanding, little-endian, x86-64. Changing the meaning of anything means a new kLedgerVersion.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace stint::abi {

inline constexpr uint64_t kLedgerMagic = 0x47444c544e495453;  // "STINTLDG"
inline constexpr uint32_t kLedgerVersion = 1;
inline constexpr uint32_t kLedgerChunkSize = 16384;
inline constexpr uint32_t kLedgerChunks = 512;  // what a new ledger gets
inline constexpr uint32_t kLedgerMaxChunks = 65536;
inline constexpr uint32_t kLedgerGranule = 32;
inline constexpr uint32_t kLedgerMaxText = 4096;  // of each of the two texts of an entry

struct LedgerHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t chunk_size;
  uint32_t chunk_count;
  uint32_t chunks_offset;     // of chunk 0 in the file; the owner words follow this header
  uint64_t next_incarnation;  // atomic; each process image that starts takes one
  uint64_t lost;              // atomic; notes for which there was no room
  uint64_t reserved[3];
};

// Where the agent's own memory lies in a process. They are true for a process only if the 8 bytes at proof_address read
// as proof_value there: after fork the child has them too, after exec they are gone until they are published again.
struct LedgerAreas {
  uint64_t runner;   // the table-runner (abi/runner.h), in the text of libstint-preload.so
  uint64_t scratch;  // private, readable and writable, nothing of the agent's in it
  uint64_t scratch_size;
  uint64_t proof_address;
  uint64_t proof_value;
};

// A chunk belongs to (pid, incarnation). The first chunk of a process carries its areas, in the others they are zero.
struct LedgerChunk {
  uint64_t incarnation;  // 0: being made ready
  uint64_t parent;       // incarnation of the process image that forked or exec'ed this one; 0 for none known
  uint32_t pid;          // as the process itself sees it
  uint32_t used;         // atomic; bytes of the chunk that are given out, this struct included; may exceed the chunk
  LedgerAreas areas;
  uint64_t reserved[4];
};

enum LedgerKind : uint32_t {
  kLedgerNothing = 0,  // being written, or no longer true
  kLedgerOpened = 1,   // OpenedNote: a descriptor was made from a name, or from another descriptor
  kLedgerObject = 2,   // ObjectNote: an ELF object is mapped
  kLedgerExec = 3,     // LedgerEntry alone: the last program this process asked to become; the name is its path
};

struct LedgerEntry {
  uint32_t kind;            // atomic, LedgerKind; written last
  uint32_t capacity;        // bytes of the whole entry, a multiple of kLedgerGranule; written first, never changed
  uint32_t name_size;       // the name follows the fixed fields
  uint32_t directory_size;  // what a relative name starts from follows the name; none for an absolute one
};

struct OpenedNote {
  LedgerEntry entry;
  int32_t fd;
  int32_t dup_of;        // -1, or the descriptor it is a duplicate of; the name is that one's, empty if it is not known
  int32_t directory_fd;  // openat's for a relative name, else AT_FDCWD
  uint32_t flags;        // as passed to open
};

struct ObjectNote {
  LedgerEntry entry;
  uint64_t load_address;   // l_addr
  int64_t link_namespace;  // 0 is the program's own
};

inline constexpr uint32_t kLedgerFixedSize = 32;  // of every kind: the texts start here

static_assert(sizeof(LedgerHeader) == 64);
static_assert(sizeof(LedgerAreas) == 40);
static_assert(sizeof(LedgerChunk) == 96);
static_assert(offsetof(LedgerChunk, used) == 20);
static_assert(sizeof(LedgerChunk) % kLedgerGranule == 0);
static_assert(sizeof(LedgerEntry) == 16);
static_assert(sizeof(OpenedNote) == kLedgerFixedSize);
static_assert(sizeof(ObjectNote) == kLedgerFixedSize);

constexpr uint32_t ledger_chunks_offset(uint32_t chunks) {
  return (sizeof(LedgerHeader) + chunks * sizeof(uint64_t) + 4095u) & ~4095u;
}
constexpr uint64_t ledger_size(uint32_t chunks) {
  return ledger_chunks_offset(chunks) + uint64_t{chunks} * kLedgerChunkSize;
}

}  // namespace stint::abi
