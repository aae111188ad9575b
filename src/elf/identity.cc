#include "elf/identity.h"

#include <elf.h>

#include "elf/elf.h"
#include "sys/file.h"

namespace stint::elf {
namespace {

constexpr size_t kPiece = 256 << 10;      // stays in the second-level cache between the kernel's copy and the hash
constexpr uint64_t kMostNotes = 1 << 20;  // real ones are below a page

// `start`: the first bytes of the file. What cannot be made sense of has no build-id.
Result<std::string> build_id(int fd, ByteView start) {
  Result<Headers> headers = parse_headers(start);
  if (!headers.has_value()) return std::string();
  Notes notes;
  for (const ProgramHeader& segment : headers->segments) {
    if (segment.type != PT_NOTE || segment.filesz > kMostNotes) continue;
    Bytes content(segment.filesz);
    content.resize(TRY(sys::pread(fd, content, segment.offset)));
    read_notes(content, segment.align, notes);
  }
  return notes.build_id;
}

}  // namespace

Result<FileIdentity> identify(int fd) {
  FileIdentity identity;
  Hasher hasher;
  Bytes piece(kPiece);
  while (size_t got = TRY(sys::pread(fd, piece, identity.size))) {
    ByteView bytes(piece.data(), got);
    if (identity.size == 0) identity.build_id = TRY(build_id(fd, bytes));
    hasher.update(bytes);
    identity.size += got;
  }
  identity.content = hasher.digest();
  return identity;
}

}  // namespace stint::elf
