// libstint-audit.so: the linker's audit interface (rtld-audit(7)), through which the linker tells what it maps, binds
// and when it is done, before the program's first instruction. It lives in a link namespace of its own, holds nothing,
// and hands all of it to the preloaded library in the program's namespace, whose hooks it finds by walking that
// object's symbols.
//
// What it adds to preloading: a start before every constructor, objects as they come and go (dlopen, dlclose), and
// bindings that pass a preloaded library by (RTLD_DEEPBIND, dlsym on a handle).
#include <link.h>

#include "agent/guest.h"
#include "agent/interposed.h"
#include "agent/symbols.h"

namespace stint::agent {
namespace {

const link_map* preload = nullptr;
const Hooks* hooks = nullptr;  // null until the preloaded library is mapped and relocated

// Null before that: the slots of a table that is not relocated yet are zero.
const Hooks* find_hooks() {
  if (hooks != nullptr || preload == nullptr) return hooks;
  const Hooks* found = (const Hooks*)find_symbol(symbols_of(preload), "stint_agent_hooks");
  if (found != nullptr && found->start != nullptr) hooks = found;
  return hooks;
}

const char* file_name(const char* path) {
  const char* name = path;
  for (; *path != 0; ++path) {
    if (*path == '/') name = path + 1;
  }
  return name;
}

void start_agent() {
  if (const Hooks* agent = find_hooks()) agent->start();
}

}  // namespace
}  // namespace stint::agent

using namespace stint::agent;

#define STINT_LINKER_CALLS extern "C" __attribute__((visibility("default")))

// Before glibc 2.35 (interface version 2) an audit library makes every call through the PLT several times slower:
// better none. 0 means that; the linker then forgets this library.
STINT_LINKER_CALLS unsigned la_version(unsigned version) { return version < 2 ? 0 : 2; }

// Only what is bound to the C library is of interest in la_symbind64, and the linker asks for nothing else.
STINT_LINKER_CALLS unsigned la_objopen(link_map* object, Lmid_t link_namespace, uintptr_t* cookie) {
  *cookie = (uintptr_t)object;
  const char* name = file_name(object->l_name);
  if (preload == nullptr && link_namespace == LM_ID_BASE && text_equal(name, "libstint-preload.so")) {
    preload = object;
    return 0;
  }
  if (hooks != nullptr) hooks->note_object(object->l_name, object->l_addr, link_namespace);
  return starts_with(name, "libc.so") ? LA_FLG_BINDTO : LA_FLG_BINDFROM;
}

STINT_LINKER_CALLS unsigned la_objclose(uintptr_t* cookie) {
  const link_map* object = (const link_map*)*cookie;
  if (hooks != nullptr) hooks->forget_object(object->l_addr);
  return 0;
}

STINT_LINKER_CALLS void la_activity(uintptr_t*, unsigned activity) {
  if (activity == LA_ACT_CONSISTENT) start_agent();
}

// After every constructor on glibc; the first chance elsewhere.
STINT_LINKER_CALLS void la_preinit(uintptr_t*) { start_agent(); }

// A binding is led to ours exactly if it ends where ours would go on to: then the call's way only gets longer, never
// another one.
STINT_LINKER_CALLS uintptr_t la_symbind64(Elf64_Sym* symbol, unsigned, uintptr_t*, uintptr_t*, unsigned*, const char*) {
  void* ours = hooks == nullptr ? nullptr : hooks->instead_of((const void*)symbol->st_value);
  return ours != nullptr ? (uintptr_t)ours : symbol->st_value;
}
