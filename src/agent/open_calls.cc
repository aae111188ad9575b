// Calls that make descriptors from names, or from other descriptors. The kernel knows which file a descriptor leads to;
// it forgets the name the program used (a symbolic link, a relative path, a name removed since) and, of two
// descriptors that share a description, which came from which. The note is taken after the real call has
// succeeded, so that nothing of ours lies around a call that may block, be cancelled or be restarted.
#include <linux/fcntl.h>

#include "agent/interposed.h"
#include "agent/ledger.h"

struct _IO_FILE;

extern "C" __attribute__((weak)) int fileno(_IO_FILE*);

namespace stint::agent {
namespace {

using OpenCall = int(const char*, int, unsigned);
using OpenAtCall = int(int, const char*, int, unsigned);

int noted(int fd, const char* name, int flags) {
  if (fd >= 0) note_opened(fd, AT_FDCWD, name, flags);
  return fd;
}

int noted_at(int fd, int directory, const char* name, int flags) {
  if (fd >= 0) note_opened(fd, directory, name, flags);
  return fd;
}

_IO_FILE* noted_stream(_IO_FILE* stream, const char* name) {
  if (stream != nullptr && name != nullptr && &fileno != nullptr) note_opened(fileno(stream), AT_FDCWD, name, 0);
  return stream;
}

int noted_duplicate(int fd, int from) {
  if (fd >= 0) note_duplicate(fd, from);
  return fd;
}

bool duplicates(int command) { return command == F_DUPFD || command == F_DUPFD_CLOEXEC; }

}  // namespace
}  // namespace stint::agent

using namespace stint::agent;

// The mode is handed on whether or not the caller passed one: the real call reads it only where it means something.
extern "C" {

int stint_open(const char* name, int flags, unsigned mode) {
  return noted(real<OpenCall>(k_open)(name, flags, mode), name, flags);
}
int stint_open64(const char* name, int flags, unsigned mode) {
  return noted(real<OpenCall>(k_open64)(name, flags, mode), name, flags);
}
int stint___open_2(const char* name, int flags) {
  return noted(real<int(const char*, int)>(k___open_2)(name, flags), name, flags);
}
int stint___open64_2(const char* name, int flags) {
  return noted(real<int(const char*, int)>(k___open64_2)(name, flags), name, flags);
}
int stint_openat(int directory, const char* name, int flags, unsigned mode) {
  return noted_at(real<OpenAtCall>(k_openat)(directory, name, flags, mode), directory, name, flags);
}
int stint_openat64(int directory, const char* name, int flags, unsigned mode) {
  return noted_at(real<OpenAtCall>(k_openat64)(directory, name, flags, mode), directory, name, flags);
}
int stint___openat_2(int directory, const char* name, int flags) {
  return noted_at(real<int(int, const char*, int)>(k___openat_2)(directory, name, flags), directory, name, flags);
}
int stint___openat64_2(int directory, const char* name, int flags) {
  return noted_at(real<int(int, const char*, int)>(k___openat64_2)(directory, name, flags), directory, name, flags);
}
int stint_creat(const char* name, unsigned mode) {
  return noted(real<int(const char*, unsigned)>(k_creat)(name, mode), name, O_CREAT | O_WRONLY | O_TRUNC);
}
int stint_creat64(const char* name, unsigned mode) {
  return noted(real<int(const char*, unsigned)>(k_creat64)(name, mode), name, O_CREAT | O_WRONLY | O_TRUNC);
}

_IO_FILE* stint_fopen(const char* name, const char* mode) {
  return noted_stream(real<_IO_FILE*(const char*, const char*)>(k_fopen)(name, mode), name);
}
_IO_FILE* stint_fopen64(const char* name, const char* mode) {
  return noted_stream(real<_IO_FILE*(const char*, const char*)>(k_fopen64)(name, mode), name);
}
_IO_FILE* stint_freopen(const char* name, const char* mode, _IO_FILE* stream) {
  return noted_stream(real<_IO_FILE*(const char*, const char*, _IO_FILE*)>(k_freopen)(name, mode, stream), name);
}
_IO_FILE* stint_freopen64(const char* name, const char* mode, _IO_FILE* stream) {
  return noted_stream(real<_IO_FILE*(const char*, const char*, _IO_FILE*)>(k_freopen64)(name, mode, stream), name);
}

int stint_dup(int from) { return noted_duplicate(real<int(int)>(k_dup)(from), from); }
int stint_dup2(int from, int to) { return noted_duplicate(real<int(int, int)>(k_dup2)(from, to), from); }
int stint_dup3(int from, int to, int flags) {
  return noted_duplicate(real<int(int, int, int)>(k_dup3)(from, to, flags), from);
}
int stint_fcntl(int fd, int command, long argument) {
  if (!duplicates(command)) [[likely]]
    return real<int(int, int, long)>(k_fcntl)(fd, command, argument);
  return noted_duplicate(real<int(int, int, long)>(k_fcntl)(fd, command, argument), fd);
}
int stint_fcntl64(int fd, int command, long argument) {
  if (!duplicates(command)) [[likely]]
    return real<int(int, int, long)>(k_fcntl64)(fd, command, argument);
  return noted_duplicate(real<int(int, int, long)>(k_fcntl64)(fd, command, argument), fd);
}

}  // extern "C"

STINT_EXPORT(open);
STINT_EXPORT(open64);
STINT_EXPORT(__open_2);
STINT_EXPORT(__open64_2);
STINT_EXPORT(openat);
STINT_EXPORT(openat64);
STINT_EXPORT(__openat_2);
STINT_EXPORT(__openat64_2);
STINT_EXPORT(creat);
STINT_EXPORT(creat64);
STINT_EXPORT(fopen);
STINT_EXPORT(fopen64);
STINT_EXPORT(freopen);
STINT_EXPORT(freopen64);
STINT_EXPORT(dup);
STINT_EXPORT(dup2);
STINT_EXPORT(dup3);
STINT_EXPORT(fcntl);
STINT_EXPORT(fcntl64);
