// Records of mappings and of what they come back from.
#pragma once

#include "image/codec.h"
#include "image/memory_policy.h"

namespace stint::image {

// A file that mappings of it come back from: program, library, data file. Known by build-id, size and content.
struct MappedFileRecord {
  static constexpr const char* kName = "mapped file record";
  uint64_t id = 0;
  std::string path;
  uint64_t device = 0, inode = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  std::string build_id;  // hex; empty for none
  Hash128 content;
  bool must_match = true;      // false: mapped shared and writable, so that its content is a FileStateRecord's affair
  bool unlinked = false;       // has no name any more: its content is under `content_space`
  uint64_t content_space = 0;  // 0, or the space of its pages in the checkpoint (bundled, or unlinked)
  int64_t ctime_ns = 0;
  bool times_tell = false;   // a change after the checkpoint shows in the times: it had been left alone before
  bool device_node = false;  // a character device: nothing of its content is kept
  uint64_t file_state = 0;   // 0, or the id of its FileStateRecord, which then says all of its content

  template <class A>
  void fields(A& a) {
    a("id", id), a("path", path), a("device", device), a("inode", inode), a("size", size), a("mtime_ns", mtime_ns);
    a("build_id", build_id), a("content", content), a("must_match", must_match), a("unlinked", unlinked);
    a("content_space", content_space), a("ctime_ns", ctime_ns), a("times_tell", times_tell);
    a("device_node", device_node), a("file_state", file_state);
  }
};

enum class Backing : uint8_t {
  kAnonymous = 0,     // private
  kFile = 1,          // object: a MappedFileRecord; shared or private
  kSharedMemory = 2,  // object: a SharedMemoryRecord
  kVdso = 3,          // the kernel's: vdso, vvar, vvar_vclock
  kAgentLedger = 5,   // jobs/NAME/ledger: its content is under kLedgerSpace
  kAioRing = 6,       // an AioRingRecord at the same address
  kDevice = 4,        // object: a MappedFileRecord of a character device that may be mapped again (/dev/zero private)
};

struct VmaRecord {
  static constexpr const char* kName = "mapping record";
  int32_t pid = 0;
  uint64_t start = 0, end = 0;
  uint32_t prot = 0;  // PROT_*
  bool shared = false;
  Backing backing = Backing::kAnonymous;
  uint64_t object = 0;
  uint64_t offset = 0;           // in the object
  bool file_writable = false;    // the mapping's file was open for writing (VmFlags mw on a shared mapping)
  std::string name;              // [heap], a path, [anon:...]: as maps shows it
  std::string advice;            // VmFlags that were asked for: "dc dd hg lo gd nr ..."
  MemoryPolicy policy;           // mbind(2)
  std::vector<uint64_t> guards;  // start, end pairs of MADV_GUARD_INSTALL regions
  std::string segment;           // what ELF says of it: text, rodata, relro, data, bss; empty for none
  uint64_t changed = 0;          // bytes that differ from what the kernel would give again
  uint64_t saved = 0;            // bytes handed to the sink
  // Start, end pairs of pages that are the parent\'s at the same address (ProcessRecord::memory_from), and not saved.
  std::vector<uint64_t> inherited;

  template <class A>
  void fields(A& a) {
    a("pid", pid), a("start", start), a("end", end), a("prot", prot), a("shared", shared), a("backing", backing);
    a("object", object), a("offset", offset), a("file_writable", file_writable), a("name", name);
    a("advice", advice), a("guards", guards), a("segment", segment), a("changed", changed), a("saved", saved);
    a("inherited", inherited), a("policy", policy);
  }
};

// Shared memory without a name in the file system: MAP_SHARED|MAP_ANONYMOUS, /dev/zero shared, a memfd. Its pages lie
// under space = kObjectSpace | id.
struct SharedMemoryRecord {
  static constexpr const char* kName = "shared memory record";
  uint64_t id = 0;   // the inode number it had: no two in one job are equal
  std::string name;  // a memfd's name; empty for anonymous memory
  bool memfd = false;
  uint64_t size = 0;
  uint32_t seals = 0;        // F_GET_SEALS of a memfd
  uint32_t memfd_flags = 0;  // MFD_HUGETLB ...
  template <class A>
  void fields(A& a) {
    a("id", id), a("name", name), a("memfd", memfd), a("size", size), a("seals", seals), a("memfd_flags", memfd_flags);
  }
};

// The ring of an asynchronous I/O context (io_setup(2)): a mapping whose address is the context's id. A child of
// fork(2) inherits the mapping, and no context.
struct AioRingRecord {
  static constexpr const char* kName = "AIO ring record";
  int32_t pid = 0;
  uint64_t start = 0;
  bool has_context = false;
  Bytes content;  // all of the mapping: struct aio_ring of fs/aio.c, and its struct io_event (linux/aio_abi.h)
  template <class A>
  void fields(A& a) {
    a("pid", pid), a("start", start), a("has_context", has_context), a("content", content);
  }
};

}  // namespace stint::image
