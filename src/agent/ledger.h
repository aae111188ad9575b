// The writing side of the ledger (abi/ledger.h), inside the program. Every function may be called from any thread, from
// a signal handler, after fork and in a vfork child, and may be stopped or killed at any instruction. None blocks; one
// that finds no room counts what is lost and returns.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "abi/ledger.h"

namespace stint::agent {

// Maps the ledger at path and takes a chunk for this process image. previous is the incarnation that the environment
// hands over: notes that this very process (the same pid) took before it called exec are taken up again.
void start_ledger(const char* path, uint64_t previous);

// Tells where the agent's own memory is. Once, after start_ledger.
void publish_areas(const abi::LedgerAreas& areas);

// 0 if there is no ledger. A new process image or a forked child gets another.
uint64_t incarnation();

void note_opened(int fd, int directory_fd, const char* name, uint32_t flags);
void note_duplicate(int fd, int from);
void note_object(const char* name, uint64_t load_address, int64_t link_namespace);
void forget_object(uint64_t load_address);
void note_exec(const char* path);

// In the child of a fork, before anything else there: takes a chunk of its own and copies what the parent had noted.
void forked();

}  // namespace stint::agent
