// The agent's libraries where the linker finds them, and the environment that makes it look. They lie under the state
// directory by the hash of their content, so that jobs of different versions do not disturb each other:
//
//   STATE/agent/HASH/x86_64/libstint-preload.so, libstint-audit.so
//   STATE/agent/HASH/i686/...              what a 32-bit program gets: empty
//   STATE/agent/HASH/{haswell,xeon_phi,$PLATFORM} -> x86_64, {i586,i486,i386} -> i686
//
// The paths in the environment contain $PLATFORM. glibc puts there what the processor is for a program of its kind;
// musl knows no such thing and finds the directory of that very name. So no linker prints that a library of ours
// "cannot be preloaded", whatever kind of program inherits the environment.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace stint::files {

struct AgentPaths {
  std::string preload;  // with $PLATFORM in them
  std::string audit;
};

// Lays the libraries out, or finds them there already; what is there is compared, and put right if it differs. May be
// called by several processes at once. A state directory whose path the linker could not take in a list (':', ' ', '$')
// is refused.
Result<AgentPaths> install_agent(const std::string& state_directory);

// A new, empty ledger (abi/ledger.h) at path, mode 0600. One that is there already is replaced.
Result<> create_ledger(const std::string& path);

// The environment for the first process of a job: the user's own, with the agent's variables. The user's LD_PRELOAD,
// LD_AUDIT and GLIBC_TUNABLES stay in front of ours; what an outer stint had put there is dropped.
std::vector<std::string> build_environment(const std::vector<std::string>& user, const AgentPaths& agent,
                                           const std::string& ledger);

}  // namespace stint::files
