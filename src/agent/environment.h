// What makes the linker load the agent, and tells it where the ledger is, travels in the environment:
//
//   LD_PRELOAD=[the user's:]DIRECTORY/$PLATFORM/libstint-preload.so
//   LD_AUDIT=[the user's:]DIRECTORY/$PLATFORM/libstint-audit.so
//   GLIBC_TUNABLES=[the user's:]glibc.rtld.optional_static_tls=4096
//   STINT_LEDGER=INCARNATION:PATH       the incarnation (hex) of the process image that made this environment
//   STINT_PAD=                          only where it makes the number of variables that are taken out even
//
// The program must not see them: at start they are taken out of the environment, in place, and the user's own values
// stay
// ("user:ours" is cut at the colon). The calls that lead to another program put them in again. An even number of
// pointers is taken out because some programs look for the auxiliary vector behind the environment: the gap, in
// units of one vector entry, becomes AT_IGNORE. $PLATFORM is expanded by glibc, so that a 32-bit linker finds a library
// of its own kind there instead of complaining about ours (files/agent_install.h lays them out).
//
// The tunable is there for LD_AUDIT: with an audit library glibc lays out thread-local storage before it knows the
// program's libraries, and those that need theirs at a fixed place (jemalloc: 2.6 KiB) must find room in what is kept
// for dlopen(3), 512 bytes by default. "Cannot allocate memory in static TLS block" would be the program's end. Each
// thread has that much less of its stack; where the user has set the tunable, it stays as it is.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace stint::agent {

inline constexpr char kStaticTlsTunable[] = "glibc.rtld.optional_static_tls=";
inline constexpr char kStaticTls[] = "glibc.rtld.optional_static_tls=4096";

// The environment the process was started with, while the linker is still at work. Null if it is not to be found.
char** initial_environment();

// Takes the agent's variables out, keeping their values for later. Returns the path of the ledger, null if there is
// none; previous gets the incarnation that came with it.
const char* take_out_of(char** environment, uint64_t* previous);

// True if a program that is started now would find the agent's libraries (a chroot or a change of user may hide them).
bool libraries_reachable();

// The bytes that put_into needs for an environment; null counts as empty.
size_t size_with_agent(char* const* environment);

// Builds the environment with the agent's variables in buffer and returns it. The strings that stay are shared with the
// original.
char** put_into(char* const* environment, char* buffer);

}  // namespace stint::agent
