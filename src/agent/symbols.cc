#include "agent/symbols.h"

#include "agent/guest.h"

// The linker's own list, for debuggers: in glibc, and in musl by another name. Weak: neither has both.
#pragma weak _r_debug
extern "C" __attribute__((weak)) r_debug* _dl_debug_addr;

namespace stint::agent {
namespace {

// glibc adds the load address to the pointers of the dynamic section in place, musl does not, and neither does anybody
// in the vDSO.
uint64_t relocated(const link_map* object, uint64_t pointer) {
  return pointer < object->l_addr ? pointer + object->l_addr : pointer;
}

// A symbol of several versions stands in the table once for each; all but the default one are marked hidden.
bool defines(const SymbolTable& table, uint32_t index, const char* name) {
  const Elf64_Sym& symbol = table.symbols[index];
  if (symbol.st_shndx == SHN_UNDEF || symbol.st_value == 0) return false;
  int type = ELF64_ST_TYPE(symbol.st_info);
  if (type != STT_FUNC && type != STT_OBJECT && type != STT_NOTYPE) return false;
  if (ELF64_ST_BIND(symbol.st_info) == STB_LOCAL) return false;
  if (table.versions != nullptr && (table.versions[index] & 0x8000) != 0) return false;
  return text_equal(table.names + symbol.st_name, name);
}

uint32_t gnu_hash_of(const char* name) {
  uint32_t hash = 5381;
  for (; *name != 0; ++name) hash = hash * 33 + (unsigned char)*name;
  return hash;
}

uint32_t find_by_gnu_hash(const SymbolTable& table, const char* name) {
  uint32_t bucket_count = table.gnu_hash[0];
  uint32_t first = table.gnu_hash[1];
  uint32_t bloom_size = table.gnu_hash[2];
  uint32_t bloom_shift = table.gnu_hash[3];
  const uint64_t* bloom = (const uint64_t*)(table.gnu_hash + 4);
  const uint32_t* buckets = (const uint32_t*)(bloom + bloom_size);
  const uint32_t* chain = buckets + bucket_count;
  if (bucket_count == 0 || bloom_size == 0) return 0;

  uint32_t hash = gnu_hash_of(name);
  uint64_t word = bloom[(hash / 64) % bloom_size];
  if (((word >> (hash % 64)) & (word >> ((hash >> bloom_shift) % 64)) & 1) == 0) return 0;
  uint32_t index = buckets[hash % bucket_count];
  if (index < first) return 0;
  for (;; ++index) {
    uint32_t entry = chain[index - first];
    if ((entry | 1) == (hash | 1) && defines(table, index, name)) return index;
    if ((entry & 1) != 0) return 0;
  }
}

}  // namespace

SymbolTable symbols_of(const link_map* object) {
  SymbolTable table{.load_address = object->l_addr};
  for (const Elf64_Dyn* entry = object->l_ld; entry != nullptr && entry->d_tag != DT_NULL; ++entry) {
    uint64_t address = relocated(object, entry->d_un.d_ptr);
    if (entry->d_tag == DT_SYMTAB) table.symbols = (const Elf64_Sym*)address;
    if (entry->d_tag == DT_STRTAB) table.names = (const char*)address;
    if (entry->d_tag == DT_GNU_HASH) table.gnu_hash = (const uint32_t*)address;
    if (entry->d_tag == DT_HASH) table.hash = (const uint32_t*)address;
    if (entry->d_tag == DT_VERSYM) table.versions = (const uint16_t*)address;
  }
  return table;
}

void* find_symbol(const SymbolTable& table, const char* name) {
  if (table.symbols == nullptr || table.names == nullptr) return nullptr;
  uint32_t found = 0;
  if (table.gnu_hash != nullptr) {
    found = find_by_gnu_hash(table, name);
  } else if (table.hash != nullptr) {
    uint32_t count = table.hash[1];
    for (uint32_t index = 1; index < count && found == 0; ++index) {
      if (defines(table, index, name)) found = index;
    }
  }
  if (found == 0) return nullptr;
  return (void*)(table.load_address + table.symbols[found].st_value);
}

const link_map* first_object() {
  if (&_r_debug != nullptr && _r_debug.r_map != nullptr) return _r_debug.r_map;
  if (&_dl_debug_addr != nullptr && _dl_debug_addr != nullptr) return _dl_debug_addr->r_map;
  return nullptr;
}

}  // namespace stint::agent
