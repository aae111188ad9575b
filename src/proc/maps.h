// /proc/PID/maps and smaps: the mappings of a process. maps is cheap (it walks the mappings only) and is always read;
// smaps adds the flags that were asked for with madvise and mlock, but walks the page tables to get there.
//
// What the kernel does not tell: only newlines are escaped in a path, so a file whose name holds the four characters
// \012 reads like one with a newline, and a file called "x (deleted)" reads like the removed file x. Who opens a path
// from here must hold device and inode against it. On btrfs and some overlays the device shown is not st_dev.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace stint::proc {

// What the last column of maps says.
enum class VmaName : uint8_t {
  kNone,        // plain anonymous memory
  kHeap,        // [heap]
  kStack,       // [stack]: the one made by exec
  kVdso,        // [vdso]
  kVvar,        // [vvar] and [vvar_vclock]
  kVsyscall,    // [vsyscall]: not in the address space of the process proper
  kAnonNamed,   // [anon:NAME], by prctl(PR_SET_VMA_ANON_NAME); private
  kShmemNamed,  // [anon_shmem:NAME]; shared
  kSpecial,     // any other [name]: [uprobes], ...
  kFile,        // something with an inode: a path, "/memfd:x", "/dev/zero", "/SYSV00000000", "anon_inode:[io_uring]"
};

struct Vma {
  Range range;
  bool read = false, write = false, exec = false, shared = false;
  uint64_t offset = 0;  // into the file
  uint32_t major = 0, minor = 0;
  uint64_t inode = 0;  // 0: no file behind it
  VmaName name = VmaName::kNone;
  std::string path;      // as shown, unescaped, without " (deleted)"
  bool deleted = false;  // the path ended in " (deleted)"

  // PROT_READ and so on.
  int prot() const;
  // As stat(2) gives it in st_dev.
  uint64_t device() const;
  // Private memory without a file: heap, stack, anonymous, named or not.
  bool anonymous() const;
  // The kernel's own pages: vdso, vvar, vvar_vclock, vsyscall, other specials.
  bool kernel_made() const;
  // MAP_SHARED memory without a name in the file system: /dev/zero, a memfd, System V shared memory.
  bool nameless_shared() const;
};

// The two-letter codes of smaps, in the kernel's order: "rd wr mr mw me ac". Codes that we have never heard of are
// kept.
class VmFlags {
 public:
  VmFlags() = default;
  explicit VmFlags(std::string_view codes);
  bool has(std::string_view code) const;
  const std::string& text() const { return text_; }
  bool operator==(const VmFlags&) const = default;

 private:
  std::string text_;  // codes parted by single spaces
};

// One mapping of smaps.
struct VmaUsage {
  Vma vma;
  uint64_t kernel_page_size = 0;                                         // bytes; larger than 4096 for hugetlb
  uint64_t rss = 0, anonymous = 0, swap = 0, anon_huge = 0, locked = 0;  // bytes
  VmFlags flags;
};

// One line of maps, without its newline.
Result<Vma> parse_vma(std::string_view line);

// Sorted by address and without overlap, or it is refused.
Result<std::vector<Vma>> parse_maps(std::string_view text);
Result<std::vector<VmaUsage>> parse_smaps(std::string_view text);

}  // namespace stint::proc
