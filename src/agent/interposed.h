// The calls that are interposed: what the kernel cannot tell afterwards, and what leads to another program. Why each,
// and what is not seen: doc/agent.md. The real ones are those that the program would have reached without us: the next
// definition after ours in lookup order, which may be another interposer's.
#pragma once

#include <stddef.h>
#include <stdint.h>

// clang-format off
#define STINT_INTERPOSED(X) \
  X(open) X(open64) X(__open_2) X(__open64_2) X(openat) X(openat64) X(__openat_2) X(__openat64_2) X(creat) X(creat64) \
  X(fopen) X(fopen64) X(freopen) X(freopen64) \
  X(dup) X(dup2) X(dup3) X(fcntl) X(fcntl64) \
  X(fork) X(vfork) X(clone) \
  X(execve) X(execv) X(execvp) X(execvpe) X(execl) X(execlp) X(execle) X(fexecve) X(execveat) \
  X(posix_spawn) X(posix_spawnp) X(system) X(popen)
// clang-format on

namespace stint::agent {

enum Interposed : uint32_t {
#define X(name) k_##name,
  STINT_INTERPOSED(X)
#undef X
      kInterposedCount,
};

// What the audit library, which lives in a link namespace of its own, may ask of the preloaded one.
struct Hooks {
  void (*start)();
  void (*note_object)(const char* name, uint64_t load_address, int64_t link_namespace);
  void (*forget_object)(uint64_t load_address);
  // Ours for a definition that it forwards to, else null.
  void* (*instead_of)(const void* definition);
};

// Starts the agent if nothing has yet. Cheap to call again.
void start();

extern void* real_calls[kInterposedCount];

// The real call, as a function of the given type. Null where the C library has none.
template <class Function>
Function* real(Interposed call) {
  if (__builtin_expect(real_calls[call] == nullptr, 0)) start();
  return (Function*)real_calls[call];
}

}  // namespace stint::agent

// Defines the exported symbol name as the function stint_name, which must be declared extern "C" before. Ours is called
// by its hidden name inside, since the exported one may be another library's.
#define STINT_EXPORT(name)                         \
  extern "C" __attribute__((visibility("default"), \
                            alias("stint_" #name))) decltype(stint_##name) stint_exported_##name asm(#name)
