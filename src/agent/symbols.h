// Finding a symbol in a mapped ELF object without the C library: dlsym() is not ours to call (it may be interposed, it
// takes the linker's lock, and on an object of another link namespace it crashes), so the object's own hash table is
// walked.
#pragma once

#include <link.h>

namespace stint::agent {

// An object's own tables, found once and asked for many names. Valid while the object is mapped; it need not be
// relocated.
struct SymbolTable {
  uint64_t load_address = 0;
  const Elf64_Sym* symbols = nullptr;
  const char* names = nullptr;
  const uint32_t* gnu_hash = nullptr;
  const uint32_t* hash = nullptr;
  const uint16_t* versions = nullptr;
};
SymbolTable symbols_of(const link_map* object);

// The address of a defined, exported function or datum (its default version where it has several), or null.
// An IFUNC is not resolved: null.
void* find_symbol(const SymbolTable& table, const char* name);

// The first of the program's own link namespace, which is the main program. Null if the linker does not say.
const link_map* first_object();

}  // namespace stint::agent
