// libstint-preload.so: the agent itself, a guest in every dynamically linked program of a job. It is started by the
// audit library at the first la_activity(LA_ACT_CONSISTENT), that is, before any constructor; where there is no audit
// interface (musl, glibc before 2.35), by its own initialiser, which `-z initfirst` puts before the others. It has
// its notes in the ledger, and otherwise only forwards calls.
#include "agent/environment.h"
#include "agent/guest.h"
#include "agent/interposed.h"
#include "agent/ledger.h"
#include "agent/symbols.h"

#include <asm/unistd_64.h>
#include <linux/mman.h>

#include "abi/runner.h"

extern "C" {
__attribute__((visibility("hidden"))) void* stint_real_vfork = nullptr;
__attribute__((visibility("hidden"))) void* stint_real_clone = nullptr;
__attribute__((weak)) int* __errno_location();

#define X(name) __attribute__((visibility("hidden"))) int stint_address_of_##name() asm("stint_" #name);
STINT_INTERPOSED(X)
#undef X
}

namespace stint::agent {

void* real_calls[kInterposedCount] = {};

namespace {

constexpr uint64_t kScratchSize = 256 << 10;

// One after the other, so that there is no table of pointers to relocate.
constexpr char kNames[] =
#define X(name) #name "\0"
    STINT_INTERPOSED(X)
#undef X
    ;

uint64_t proof = 0;

// Stands for a call that this C library does not have, for a program that found ours by dlsym().
long missing_call() {
  if (&__errno_location != nullptr) *__errno_location() = 38;  // ENOSYS
  return -1;
}

const link_map* own_object() {
  for (const link_map* object = first_object(); object != nullptr; object = object->l_next) {
    if (object->l_ld == _DYNAMIC) return object;
  }
  return nullptr;
}

// The list of objects starts in the order of the lookup scope: the program, what is preloaded, what these need. "Next"
// is therefore what dlsym(RTLD_NEXT) would say.
void find_real_calls() {
  const link_map* own = own_object();
  for (const link_map* object = own == nullptr ? nullptr : own->l_next; object != nullptr; object = object->l_next) {
    SymbolTable table = symbols_of(object);
    const char* name = kNames;
    for (uint32_t call = 0; call < kInterposedCount; ++call) {
      if (real_calls[call] == nullptr) real_calls[call] = find_symbol(table, name);
      name += text_size(name) + 1;
    }
  }
  for (void*& call : real_calls) {
    if (call == nullptr) call = (void*)missing_call;
  }
  stint_real_vfork = real_calls[k_vfork];
  stint_real_clone = real_calls[k_clone];
}

void note_mapped_objects() {
  for (const link_map* object = first_object(); object != nullptr; object = object->l_next) {
    note_object(object->l_name, object->l_addr, 0);
  }
}

void publish() {
  if (incarnation() == 0) return;
  long scratch = system_call(__NR_mmap, 0, kScratchSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (scratch < 0 && scratch > -4096) return;
  proof = abi::kLedgerMagic ^ incarnation();
  publish_areas({.runner = (uint64_t)abi::stint_runner_start,
                 .scratch = (uint64_t)scratch,
                 .scratch_size = kScratchSize,
                 .proof_address = (uint64_t)&proof,
                 .proof_value = proof});
}

void* instead_of(const void* definition) {
#define X(name) \
  if (real_calls[k_##name] == definition) return (void*)stint_address_of_##name;
  STINT_INTERPOSED(X)
#undef X
  return nullptr;
}

}  // namespace

void start() {
  static uint32_t started = 0;
  if (!replace(&started, 0u, 1u)) return;
  find_real_calls();
  char** environment = initial_environment();
  uint64_t previous = 0;
  const char* ledger = environment == nullptr ? nullptr : take_out_of(environment, &previous);
  if (ledger == nullptr) return;
  start_ledger(ledger, previous);
  publish();
  note_mapped_objects();
}

}  // namespace stint::agent

// What the audit library looks up. Read-only after relocation.
extern "C" __attribute__((visibility("default"))) const stint::agent::Hooks stint_agent_hooks = {
    stint::agent::start, stint::agent::note_object, stint::agent::forget_object, stint::agent::instead_of};

// DT_INIT.
extern "C" __attribute__((visibility("hidden"))) void stint_initialise() { stint::agent::start(); }
