// Our own reader of ELF for 64-bit x86: what a program is linked against, which parts of it never change, who it is.
//
// It reads a file, or an object as it lies in memory (the vDSO has no file; the agent is found in the program that it
// was loaded into). It goes by program headers alone, so that files stripped of their sections are read just as well.
// Nothing in the bytes is trusted: whatever lies outside of them is an error or not there. Pure: bytes in, structs out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace stint::elf {

// What a file that is to be executed is, by its first bytes.
enum class FileKind : uint8_t {
  kElf64,         // for this machine: the rest of this header applies
  kElf32,         // a 32-bit program (i386 or x32)
  kOtherMachine,  // ELF, but not for x86-64
  kScript,        // begins with #!
  kOther,
};

FileKind kind_of(ByteView start);
std::string_view describe(FileKind kind);  // "a 32-bit ELF file"

struct Script {
  std::string interpreter;
  std::string argument;  // all that follows, as the kernel passes it: one argument
};
// The first line of a file that begins with #!; nothing for other files and for an empty line.
std::optional<Script> parse_script(ByteView start);

struct ProgramHeader {
  uint32_t type = 0;   // PT_*
  uint32_t flags = 0;  // PF_*
  uint64_t offset = 0, vaddr = 0, filesz = 0, memsz = 0, align = 0;
};

struct Headers {
  uint16_t type = 0;  // ET_EXEC or ET_DYN; others are refused
  uint64_t entry = 0;
  std::vector<ProgramHeader> segments;  // as in the file

  // The first of this type, or nothing.
  const ProgramHeader* find(uint32_t segment_type) const;
  // From the first page of the lowest PT_LOAD to the end of the highest, in whole pages. Empty without any.
  Range load_range() const;
  // In whole pages, as ld.so makes it read-only (the end rounded down). Empty without PT_GNU_RELRO.
  Range relro() const;
};

// Needs no more of the file than the program headers reach: the first page nearly always is enough.
Result<Headers> parse_headers(ByteView start);

struct Notes {
  std::string build_id;         // lower-case hexadecimal; empty for none
  bool go = false;              // made by the Go linker
  uint32_t x86_isa_needed = 0;  // GNU_PROPERTY_X86_ISA_1_NEEDED: bit n for x86-64-v(n+1)
  uint32_t x86_features = 0;    // GNU_PROPERTY_X86_FEATURE_1_AND: IBT, SHSTK
};
// Adds what the content of one PT_NOTE or PT_GNU_PROPERTY segment says. Stops at the first note that is not sound.
void read_notes(ByteView content, uint64_t align, Notes& notes);

enum class Linkage : uint8_t {
  kStatic,        // at a fixed address, no interpreter
  kStaticPie,     // relocates itself, no interpreter
  kDynamic,       // ld.so loads it: our agent can be in it
  kSharedObject,  // a library, or ld.so itself
};
std::string_view describe(Linkage linkage);  // "statically linked"

// Addresses of the tables for looking up symbols, before relocation. 0: not there.
struct DynamicTables {
  uint64_t gnu_hash = 0, hash = 0, symbols = 0, strings = 0, strings_size = 0;
};

struct Elf {
  Headers headers;
  Linkage linkage = Linkage::kStatic;
  std::string interpreter;  // PT_INTERP; empty for none
  std::vector<std::string> needed;
  std::string soname, rpath, runpath;
  bool pie = false;                // DF_1_PIE
  bool bind_now = false;           // DF_BIND_NOW, DF_1_NOW
  bool executable_stack = false;   // PT_GNU_STACK says so, or is missing
  bool thread_local_data = false;  // PT_TLS
  Notes notes;
  DynamicTables tables;

  bool go() const { return notes.go; }
};

enum class Layout : uint8_t {
  kFile,    // bytes as in the file
  kMemory,  // bytes as loaded: those from Headers::load_range() on, whatever could be read of them
};

// The bytes of one object. They are only looked at during the calls below.
struct Source {
  ByteView bytes;
  Layout layout = Layout::kFile;
  // kMemory: where bytes[0] lay. ld.so relocates the pointers of the dynamic section in place; this undoes it.
  uint64_t base = 0;
};

Result<Elf> parse(const Source& source);

struct Symbol {
  uint64_t value = 0;  // address before relocation: add the load bias
  uint64_t size = 0;
  uint8_t type = 0;  // STT_*
};

// A defined dynamic symbol, through DT_GNU_HASH, else DT_HASH. Versions are not looked at: of several with one name,
// any.
std::optional<Symbol> find_symbol(const Elf& elf, const Source& source, std::string_view name);

}  // namespace stint::elf
