// Records of the regular files that a job holds.
#pragma once

#include "image/codec.h"

namespace stint::image {

// A regular file that the job holds open or mapped, as it was at the checkpoint.
struct FileStateRecord {
  static constexpr const char* kName = "file state record";
  uint64_t id = 0;
  std::string path;
  uint64_t device = 0, inode = 0;
  uint64_t size = 0;
  uint32_t mode = 0;
  uint64_t links = 0;
  int64_t mtime_ns = 0, ctime_ns = 0;
  bool written = false;        // the job can write it: open for writing or mapped shared and writable
  bool mapped_shared = false;  // stores through the mapping need not change any time: always held by its hash
  bool unlinked = false;
  std::optional<Hash128> content;  // of `size` bytes; absent when only read and too large to be worth it
  uint64_t content_space = 0;      // 0, or the space of its pages in the checkpoint
  uint32_t uid = 0, gid = 0;
  bool times_tell = false;   // a change after the checkpoint shows in the times: it had been left alone before
  bool append_only = false;  // the job writes it through O_APPEND descriptions only
  bool made_up = false;      // in procfs, sysfs or the like: the kernel makes its content while it is read

  template <class A>
  void fields(A& a) {
    a("id", id), a("path", path), a("device", device), a("inode", inode), a("size", size), a("mode", mode);
    a("links", links), a("mtime_ns", mtime_ns), a("ctime_ns", ctime_ns), a("written", written);
    a("mapped_shared", mapped_shared), a("unlinked", unlinked), a("content", content);
    a("content_space", content_space), a("uid", uid), a("gid", gid), a("times_tell", times_tell);
    a("append_only", append_only), a("made_up", made_up);
  }
};

}  // namespace stint::image
