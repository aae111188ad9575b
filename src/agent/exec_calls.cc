// Calls that lead to another program or another process. The agent's variables are not in the program's environment
// (agent/environment.h), so each of these puts them into the one it hands on. The list is built on the caller's stack,
// because exec may happen in a vfork child, where a mapping would stay behind in the parent. system and popen take
// the environment from environ: it is exchanged for one of ours while they run.
#include <asm/unistd_64.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <stdarg.h>

#include "agent/environment.h"
#include "agent/guest.h"
#include "agent/interposed.h"
#include "agent/ledger.h"

struct _IO_FILE;

extern "C" __attribute__((weak)) char** environ;

namespace stint::agent {
namespace {

using ExecCall = int(const char*, char* const*, char* const*);
using SpawnCall = int(int*, const char*, const void*, const void*, char* const*, char* const*);

constexpr size_t kOnStack = 32 << 10;

char* const* own_environment() { return &environ == nullptr ? nullptr : environ; }

// Memory for size bytes, or null: the program then starts without the agent.
char* map_pages(size_t size) {
  long map = system_call(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return map < 0 && map > -4096 ? nullptr : (char*)map;
}

// Gives call an environment with the agent in it, and takes back what that needed when call returns.
template <class Call>
__attribute__((always_inline)) inline int with_agent(char* const* environment, Call call) {
  if (!libraries_reachable()) return call(environment);
  size_t size = size_with_agent(environment);
  if (size <= kOnStack) return call(put_into(environment, (char*)__builtin_alloca(size)));
  char* buffer = map_pages(size);
  if (buffer == nullptr) return call(environment);
  int result = call(put_into(environment, buffer));
  system_call(__NR_munmap, buffer, size);
  return result;
}

__attribute__((always_inline)) inline int exec(Interposed which, const char* path, char* const* arguments,
                                               char* const* environment) {
  note_exec(path);
  return with_agent(environment, [=](char* const* with) { return real<ExecCall>(which)(path, arguments, with); });
}

// How many threads are inside system or popen. The first exchanges environ, the last puts it back; if the program has
// set another in the meantime, that one stays and only the agent's variables are taken out of it.
uint32_t borrowers = 0;
char** borrowed_from = nullptr;
char** borrowed = nullptr;
size_t borrowed_size = 0;

void lend_environment() {
  if (__atomic_fetch_add(&borrowers, 1, __ATOMIC_ACQ_REL) != 0 || &environ == nullptr || !libraries_reachable()) return;
  size_t size = size_with_agent(environ);
  char* buffer = map_pages(size);
  if (buffer == nullptr) return;
  borrowed_from = environ;
  borrowed_size = size;
  borrowed = put_into(environ, buffer);
  store(&environ, borrowed);
}

void take_environment_back() {
  if (__atomic_sub_fetch(&borrowers, 1, __ATOMIC_ACQ_REL) != 0 || borrowed == nullptr) return;
  char** ours = borrowed;
  borrowed = nullptr;
  if (replace(&environ, ours, borrowed_from)) {
    system_call(__NR_munmap, ours, borrowed_size);
  } else if (environ != nullptr) {
    uint64_t ignored = 0;
    take_out_of(environ, &ignored);
  }
}

// The arguments of execl and its kin, up to the null that ends them.
size_t count_arguments(va_list list) {
  size_t count = 1;
  while (va_arg(list, char*) != nullptr) ++count;
  return count;
}

void collect_arguments(char** arguments, const char* first, va_list list) {
  *arguments = (char*)first;
  while (*arguments != nullptr) *++arguments = va_arg(list, char*);
}

}  // namespace
}  // namespace stint::agent

using namespace stint::agent;

// The list of a variadic exec as an array on this function's stack.
#define STINT_COLLECT(arguments, first)                                           \
  va_list stint_list;                                                             \
  va_start(stint_list, first);                                                    \
  size_t stint_count = first == nullptr ? 0 : count_arguments(stint_list);        \
  va_end(stint_list);                                                             \
  char** arguments = (char**)__builtin_alloca((stint_count + 1) * sizeof(char*)); \
  va_start(stint_list, first);                                                    \
  collect_arguments(arguments, first, stint_list)

extern "C" {

int stint_fork() {
  int child = real<int()>(k_fork)();
  if (child == 0) forked();
  return child;
}

int stint_execve(const char* path, char* const* arguments, char* const* environment) {
  return exec(k_execve, path, arguments, environment);
}
int stint_execv(const char* path, char* const* arguments) { return exec(k_execve, path, arguments, own_environment()); }
int stint_execvp(const char* file, char* const* arguments) {
  return exec(k_execvpe, file, arguments, own_environment());
}
int stint_execvpe(const char* file, char* const* arguments, char* const* environment) {
  return exec(k_execvpe, file, arguments, environment);
}
int stint_execl(const char* path, const char* first, ...) {
  STINT_COLLECT(arguments, first);
  va_end(stint_list);
  return exec(k_execve, path, arguments, own_environment());
}
int stint_execlp(const char* file, const char* first, ...) {
  STINT_COLLECT(arguments, first);
  va_end(stint_list);
  return exec(k_execvpe, file, arguments, own_environment());
}
int stint_execle(const char* path, const char* first, ...) {
  STINT_COLLECT(arguments, first);
  char* const* environment = va_arg(stint_list, char* const*);
  va_end(stint_list);
  return exec(k_execve, path, arguments, environment);
}
int stint_fexecve(int fd, char* const* arguments, char* const* environment) {
  return with_agent(environment, [=](char* const* with) {
    return real<int(int, char* const*, char* const*)>(k_fexecve)(fd, arguments, with);
  });
}
int stint_execveat(int directory, const char* path, char* const* arguments, char* const* environment, int flags) {
  note_exec(path);
  return with_agent(environment, [=](char* const* with) {
    return real<int(int, const char*, char* const*, char* const*, int)>(k_execveat)(directory, path, arguments, with,
                                                                                    flags);
  });
}

int stint_posix_spawn(int* pid, const char* path, const void* actions, const void* attributes, char* const* arguments,
                      char* const* environment) {
  return with_agent(environment, [=](char* const* with) {
    return real<SpawnCall>(k_posix_spawn)(pid, path, actions, attributes, arguments, with);
  });
}
int stint_posix_spawnp(int* pid, const char* file, const void* actions, const void* attributes, char* const* arguments,
                       char* const* environment) {
  return with_agent(environment, [=](char* const* with) {
    return real<SpawnCall>(k_posix_spawnp)(pid, file, actions, attributes, arguments, with);
  });
}

int stint_system(const char* command) {
  lend_environment();
  int status = real<int(const char*)>(k_system)(command);
  take_environment_back();
  return status;
}
_IO_FILE* stint_popen(const char* command, const char* mode) {
  lend_environment();
  _IO_FILE* stream = real<_IO_FILE*(const char*, const char*)>(k_popen)(command, mode);
  take_environment_back();
  return stream;
}

}  // extern "C"

STINT_EXPORT(fork);
STINT_EXPORT(execve);
STINT_EXPORT(execv);
STINT_EXPORT(execvp);
STINT_EXPORT(execvpe);
STINT_EXPORT(execl);
STINT_EXPORT(execlp);
STINT_EXPORT(execle);
STINT_EXPORT(fexecve);
STINT_EXPORT(execveat);
STINT_EXPORT(posix_spawn);
STINT_EXPORT(posix_spawnp);
STINT_EXPORT(system);
STINT_EXPORT(popen);
