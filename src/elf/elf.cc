#include "elf/elf.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>

namespace stint::elf {
namespace {

// What newer headers have and Debian 12's may lack.
constexpr uint32_t kPtGnuProperty = 0x6474e553;
constexpr uint64_t kDf1Pie = 0x08000000;
constexpr size_t kMostSegments = 512;  // Real objects have about a dozen.
constexpr size_t kMostNeeded = 4096;

Error bad(std::string_view what) { return failed(fmt::format("damaged ELF file: {}", what)); }

// Part of a view; nothing unless all of it is there.
std::optional<ByteView> slice(ByteView bytes, uint64_t offset, uint64_t size) {
  if (offset > bytes.size() || size > bytes.size() - offset) return std::nullopt;
  return bytes.subspan(offset, size);
}

// A struct out of unaligned bytes.
template <class T>
std::optional<T> load(ByteView bytes, uint64_t offset) {
  std::optional<ByteView> part = slice(bytes, offset, sizeof(T));
  if (!part) return std::nullopt;
  T value;
  std::memcpy(&value, part->data(), sizeof(T));
  return value;
}

// An object's bytes, by the addresses that its own tables use.
class Addresses {
 public:
  Addresses(const Headers& headers, const Source& source)
      : headers_(headers), source_(source), lowest_(headers.load_range().start) {}

  // The bytes from `vaddr` to the end of what is known there.
  std::optional<ByteView> from(uint64_t vaddr) const {
    if (source_.layout == Layout::kMemory) {
      if (vaddr < lowest_ || vaddr - lowest_ > source_.bytes.size()) return std::nullopt;
      return source_.bytes.subspan(vaddr - lowest_);
    }
    for (const ProgramHeader& segment : headers_.segments) {
      if (segment.type != PT_LOAD || vaddr < segment.vaddr || vaddr - segment.vaddr >= segment.filesz) continue;
      std::optional<ByteView> content = slice(source_.bytes, segment.offset, segment.filesz);
      return content ? slice(*content, vaddr - segment.vaddr, segment.filesz - (vaddr - segment.vaddr)) : content;
    }
    return std::nullopt;
  }

  std::optional<ByteView> at(uint64_t vaddr, uint64_t size) const {
    std::optional<ByteView> rest = from(vaddr);
    return rest ? slice(*rest, 0, size) : rest;
  }

  template <class T>
  std::optional<T> load_at(uint64_t vaddr) const {
    std::optional<ByteView> rest = from(vaddr);
    return rest ? load<T>(*rest, 0) : std::nullopt;
  }

  std::optional<ByteView> content(const ProgramHeader& segment) const {
    if (source_.layout == Layout::kMemory) return at(segment.vaddr, segment.filesz);
    return slice(source_.bytes, segment.offset, segment.filesz);
  }

  // A pointer of the dynamic section as it was before ld.so relocated it.
  uint64_t unrelocated(uint64_t pointer) const {
    if (source_.layout != Layout::kMemory || source_.base == lowest_) return pointer;
    if (pointer < source_.base || pointer - source_.base >= source_.bytes.size()) return pointer;
    return pointer - source_.base + lowest_;
  }

  std::optional<std::string> string_at(uint64_t table, uint64_t table_size, uint64_t offset) const {
    std::optional<ByteView> strings = at(table, table_size);
    if (!strings || offset >= strings->size()) return std::nullopt;
    std::string_view rest = text_of(strings->subspan(offset));
    size_t end = rest.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    return std::string(rest.substr(0, end));
  }

 private:
  const Headers& headers_;
  const Source& source_;
  uint64_t lowest_;
};

void read_property(ByteView properties, Notes& notes) {
  constexpr uint32_t kFeature1And = 0xc0000002, kIsa1Needed = 0xc0008002;
  uint64_t at = 0;
  while (std::optional<uint32_t> type = load<uint32_t>(properties, at)) {
    std::optional<uint32_t> size = load<uint32_t>(properties, at + 4);
    if (!size || !slice(properties, at + 8, *size)) return;
    std::optional<uint32_t> value = *size == 4 ? load<uint32_t>(properties, at + 8) : std::nullopt;
    if (value && *type == kFeature1And) notes.x86_features |= *value;
    if (value && *type == kIsa1Needed) notes.x86_isa_needed |= *value;
    at += 8 + ((uint64_t{*size} + 7) & ~uint64_t{7});
  }
}

std::string hex(ByteView bytes) {
  std::string text;
  for (std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

void read_all_notes(const Addresses& addresses, Elf& elf) {
  for (const ProgramHeader& segment : elf.headers.segments) {
    if (segment.type != PT_NOTE && segment.type != kPtGnuProperty) continue;
    if (std::optional<ByteView> content = addresses.content(segment)) read_notes(*content, segment.align, elf.notes);
  }
}

// The Go linker leaves a note, but a linker that is run by it may drop that; the section it always keeps.
bool has_go_section(const Source& source) {
  std::optional<Elf64_Ehdr> header = load<Elf64_Ehdr>(source.bytes, 0);
  if (!header || source.layout != Layout::kFile || header->e_shentsize != sizeof(Elf64_Shdr)) return false;
  std::optional<ByteView> table = slice(source.bytes, header->e_shoff, uint64_t{header->e_shnum} * sizeof(Elf64_Shdr));
  if (!table) return false;
  std::optional<Elf64_Shdr> names = load<Elf64_Shdr>(*table, uint64_t{header->e_shstrndx} * sizeof(Elf64_Shdr));
  if (!names) return false;
  std::optional<ByteView> strings = slice(source.bytes, names->sh_offset, names->sh_size);
  constexpr std::string_view kName(".go.buildinfo\0", 14);
  for (uint64_t i = 0; strings && i < header->e_shnum; ++i) {
    std::optional<Elf64_Shdr> section = load<Elf64_Shdr>(*table, i * sizeof(Elf64_Shdr));
    std::optional<ByteView> name = slice(*strings, section->sh_name, kName.size());
    if (name && text_of(*name) == kName) return true;
  }
  return false;
}

// The parts of the dynamic section that name strings, until the string table is known.
struct NamedStrings {
  std::vector<uint64_t> needed;
  std::optional<uint64_t> soname, rpath, runpath;
};

void take_dynamic(const Elf64_Dyn& entry, const Addresses& addresses, Elf& elf, NamedStrings& named) {
  uint64_t value = entry.d_un.d_val;
  switch (entry.d_tag) {
    case DT_NEEDED:
      if (named.needed.size() < kMostNeeded) named.needed.push_back(value);
      break;
    case DT_SONAME:
      named.soname = value;
      break;
    case DT_RPATH:
      named.rpath = value;
      break;
    case DT_RUNPATH:
      named.runpath = value;
      break;
    case DT_FLAGS:
      elf.bind_now |= (value & DF_BIND_NOW) != 0;
      break;
    case DT_FLAGS_1:
      elf.pie = (value & kDf1Pie) != 0;
      elf.bind_now |= (value & DF_1_NOW) != 0;
      break;
    case DT_GNU_HASH:
      elf.tables.gnu_hash = addresses.unrelocated(value);
      break;
    case DT_HASH:
      elf.tables.hash = addresses.unrelocated(value);
      break;
    case DT_SYMTAB:
      elf.tables.symbols = addresses.unrelocated(value);
      break;
    case DT_STRTAB:
      elf.tables.strings = addresses.unrelocated(value);
      break;
    case DT_STRSZ:
      elf.tables.strings_size = value;
      break;
    default:
      break;
  }
}

Result<> read_dynamic(const Addresses& addresses, Elf& elf) {
  const ProgramHeader* segment = elf.headers.find(PT_DYNAMIC);
  if (segment == nullptr) return {};
  std::optional<ByteView> content = addresses.content(*segment);
  if (!content) return bad("the dynamic section lies outside of it");
  NamedStrings named;
  for (uint64_t at = 0; std::optional<Elf64_Dyn> entry = load<Elf64_Dyn>(*content, at); at += sizeof(Elf64_Dyn)) {
    if (entry->d_tag == DT_NULL) break;
    take_dynamic(*entry, addresses, elf, named);
  }
  bool sound = true;
  auto string = [&](std::optional<uint64_t> offset) -> std::string {
    if (!offset) return {};
    std::optional<std::string> text = addresses.string_at(elf.tables.strings, elf.tables.strings_size, *offset);
    sound = sound && text.has_value();
    return text.value_or("");
  };
  for (uint64_t offset : named.needed) elf.needed.push_back(string(offset));
  elf.soname = string(named.soname);
  elf.rpath = string(named.rpath);
  elf.runpath = string(named.runpath);
  if (!sound) return bad("a name of the dynamic section lies outside of its strings");
  return {};
}

Linkage linkage_of(const Elf& elf) {
  if (!elf.interpreter.empty()) return Linkage::kDynamic;
  if (elf.headers.type == ET_EXEC) return Linkage::kStatic;
  // Linkers before 2.27 do not mark a static-pie program; but nobody gives one a soname.
  bool program = elf.pie || (elf.headers.entry != 0 && elf.soname.empty() && elf.needed.empty());
  return program ? Linkage::kStaticPie : Linkage::kSharedObject;
}

// The symbol with this number, if it is a defined one of this name.
std::optional<Symbol> symbol_named(const Elf& elf, const Addresses& addresses, uint32_t number, std::string_view name) {
  std::optional<Elf64_Sym> symbol =
      addresses.load_at<Elf64_Sym>(elf.tables.symbols + uint64_t{number} * sizeof(Elf64_Sym));
  if (!symbol || symbol->st_shndx == SHN_UNDEF || symbol->st_name >= elf.tables.strings_size) return std::nullopt;
  std::optional<ByteView> found = addresses.at(elf.tables.strings + symbol->st_name, name.size() + 1);
  if (!found || text_of(found->first(name.size())) != name || found->back() != std::byte{0}) return std::nullopt;
  return Symbol{symbol->st_value, symbol->st_size, static_cast<uint8_t>(ELF64_ST_TYPE(symbol->st_info))};
}

std::optional<Symbol> find_by_gnu_hash(const Elf& elf, const Addresses& addresses, std::string_view name) {
  uint32_t hash = 5381;
  for (char c : name) hash = hash * 33 + static_cast<unsigned char>(c);
  struct Header {
    uint32_t buckets, first_symbol, bloom_words, bloom_shift;
  };
  std::optional<Header> header = addresses.load_at<Header>(elf.tables.gnu_hash);
  if (!header || header->buckets == 0) return std::nullopt;
  uint64_t buckets = elf.tables.gnu_hash + sizeof(Header) + uint64_t{header->bloom_words} * 8;
  uint64_t chains = buckets + uint64_t{header->buckets} * 4;
  std::optional<uint32_t> number = addresses.load_at<uint32_t>(buckets + uint64_t{hash % header->buckets} * 4);
  if (!number || *number < header->first_symbol) return std::nullopt;
  // Ends at the bytes' end at the latest: each turn looks at the next four of them.
  while (std::optional<uint32_t> link =
             addresses.load_at<uint32_t>(chains + uint64_t{*number - header->first_symbol} * 4)) {
    if ((*link | 1) == (hash | 1)) {
      if (std::optional<Symbol> symbol = symbol_named(elf, addresses, *number, name)) return symbol;
    }
    if ((*link & 1) != 0 || *number == UINT32_MAX) break;
    ++*number;
  }
  return std::nullopt;
}

std::optional<Symbol> find_by_hash(const Elf& elf, const Addresses& addresses, std::string_view name) {
  uint32_t hash = 0;
  for (char c : name) {
    hash = (hash << 4) + static_cast<unsigned char>(c);
    uint32_t high = hash & 0xf0000000;
    hash = (hash ^ (high >> 24)) & ~high;
  }
  struct Header {
    uint32_t buckets, chains;
  };
  std::optional<Header> header = addresses.load_at<Header>(elf.tables.hash);
  if (!header || header->buckets == 0) return std::nullopt;
  uint64_t buckets = elf.tables.hash + sizeof(Header);
  uint64_t chains = buckets + uint64_t{header->buckets} * 4;
  std::optional<uint32_t> number = addresses.load_at<uint32_t>(buckets + uint64_t{hash % header->buckets} * 4);
  // A chain that runs in a circle is no chain.
  for (uint32_t turns = 0; number && *number != 0 && *number < header->chains && turns < header->chains; ++turns) {
    if (std::optional<Symbol> symbol = symbol_named(elf, addresses, *number, name)) return symbol;
    number = addresses.load_at<uint32_t>(chains + uint64_t{*number} * 4);
  }
  return std::nullopt;
}

}  // namespace

FileKind kind_of(ByteView start) {
  if (text_of(start).starts_with("#!")) return FileKind::kScript;
  if (start.size() < EI_NIDENT || std::memcmp(start.data(), ELFMAG, SELFMAG) != 0) return FileKind::kOther;
  // Of both classes, type and machine lie at the same place; the byte order does not matter for what is foreign anyway.
  std::optional<uint16_t> machine = load<uint16_t>(start, 18);
  if (start[EI_CLASS] == std::byte{ELFCLASS32}) {
    return machine == EM_386 || machine == EM_X86_64 ? FileKind::kElf32 : FileKind::kOtherMachine;
  }
  bool here = start[EI_CLASS] == std::byte{ELFCLASS64} && start[EI_DATA] == std::byte{ELFDATA2LSB};
  return here && machine == EM_X86_64 ? FileKind::kElf64 : FileKind::kOtherMachine;
}

std::string_view describe(FileKind kind) {
  switch (kind) {
    case FileKind::kElf64:
      return "a 64-bit x86 ELF file";
    case FileKind::kElf32:
      return "a 32-bit ELF file";
    case FileKind::kOtherMachine:
      return "an ELF file for another processor";
    case FileKind::kScript:
      return "a script";
    case FileKind::kOther:
      break;
  }
  return "neither an ELF file nor a script";
}

std::optional<Script> parse_script(ByteView start) {
  std::string_view text = text_of(start);
  if (!text.starts_with("#!")) return std::nullopt;
  text = text.substr(2, text.find('\n') == std::string_view::npos ? text.npos : text.find('\n') - 2);
  size_t begin = text.find_first_not_of(" \t");
  if (begin == text.npos) return std::nullopt;
  text = text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
  size_t end = text.find_first_of(" \t");
  Script script{std::string(text.substr(0, end)), {}};
  if (end != text.npos) script.argument = text.substr(text.find_first_not_of(" \t", end));
  return script;
}

const ProgramHeader* Headers::find(uint32_t segment_type) const {
  for (const ProgramHeader& segment : segments) {
    if (segment.type == segment_type) return &segment;
  }
  return nullptr;
}

Range Headers::load_range() const {
  Range range{UINT64_MAX, 0};
  for (const ProgramHeader& segment : segments) {
    if (segment.type != PT_LOAD) continue;
    range.start = std::min(range.start, page_down(segment.vaddr));
    range.end = std::max(range.end, page_up(segment.vaddr + segment.memsz));
  }
  return range.end == 0 ? Range{} : range;
}

Range Headers::relro() const {
  const ProgramHeader* segment = find(PT_GNU_RELRO);
  if (segment == nullptr) return {};
  return {page_down(segment->vaddr), page_down(segment->vaddr + segment->memsz)};
}

Result<Headers> parse_headers(ByteView start) {
  FileKind kind = kind_of(start);
  if (kind != FileKind::kElf64) return failed(std::string(describe(kind)));
  std::optional<Elf64_Ehdr> header = load<Elf64_Ehdr>(start, 0);
  if (!header) return bad("it ends within its header");
  if (header->e_type != ET_EXEC && header->e_type != ET_DYN) return failed("an ELF file that cannot be executed");
  if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum > kMostSegments) return bad("its program headers");
  if (!slice(start, header->e_phoff, uint64_t{header->e_phnum} * sizeof(Elf64_Phdr)))
    return bad("its program headers lie outside of it");
  Headers headers{header->e_type, header->e_entry, {}};
  for (uint64_t i = 0; i < header->e_phnum; ++i) {
    Elf64_Phdr raw = *load<Elf64_Phdr>(start, header->e_phoff + i * sizeof(Elf64_Phdr));
    // Addresses are of the lower half, so sums of two of them cannot overflow.
    constexpr uint64_t kHalf = uint64_t{1} << 47;
    if (raw.p_type == PT_LOAD || raw.p_type == PT_GNU_RELRO) {
      if (raw.p_vaddr >= kHalf || raw.p_memsz >= kHalf || raw.p_filesz > raw.p_memsz)
        return bad("a segment is larger than memory can be");
    }
    headers.segments.push_back(
        {raw.p_type, raw.p_flags, raw.p_offset, raw.p_vaddr, raw.p_filesz, raw.p_memsz, raw.p_align});
  }
  return headers;
}

void read_notes(ByteView content, uint64_t align, Notes& notes) {
  uint64_t padding = align == 8 ? 7 : 3;
  uint64_t at = 0;
  while (std::optional<Elf64_Nhdr> header = load<Elf64_Nhdr>(content, at)) {
    uint64_t name_at = at + sizeof(Elf64_Nhdr);
    uint64_t desc_at = (name_at + header->n_namesz + padding) & ~padding;
    std::optional<ByteView> name = slice(content, name_at, header->n_namesz);
    std::optional<ByteView> desc = slice(content, desc_at, header->n_descsz);
    if (!name || !desc) return;
    std::string_view owner = text_of(*name);
    bool gnu = owner == std::string_view("GNU\0", 4);
    if (gnu && header->n_type == NT_GNU_BUILD_ID && desc->size() <= 64) notes.build_id = hex(*desc);
    if (gnu && header->n_type == 5) read_property(*desc, notes);
    if (owner == std::string_view("Go\0\0", 4)) notes.go = true;
    at = (desc_at + header->n_descsz + padding) & ~padding;
  }
}

std::string_view describe(Linkage linkage) {
  switch (linkage) {
    case Linkage::kStatic:
      return "statically linked";
    case Linkage::kStaticPie:
      return "static-pie";
    case Linkage::kDynamic:
      return "dynamically linked";
    case Linkage::kSharedObject:
      break;
  }
  return "a shared object";
}

Result<Elf> parse(const Source& source) {
  Elf elf;
  elf.headers = TRY(parse_headers(source.bytes));
  Addresses addresses(elf.headers, source);
  if (const ProgramHeader* segment = elf.headers.find(PT_INTERP)) {
    std::optional<ByteView> content = addresses.content(*segment);
    if (!content || content->empty() || content->back() != std::byte{0}) return bad("its interpreter");
    std::string_view path = text_of(*content);
    elf.interpreter = path.substr(0, path.find('\0'));
  }
  TRY(read_dynamic(addresses, elf));
  const ProgramHeader* stack = elf.headers.find(PT_GNU_STACK);
  elf.executable_stack = stack == nullptr || (stack->flags & PF_X) != 0;
  elf.thread_local_data = elf.headers.find(PT_TLS) != nullptr;
  read_all_notes(addresses, elf);
  elf.notes.go = elf.notes.go || has_go_section(source);
  elf.linkage = linkage_of(elf);
  return elf;
}

std::optional<Symbol> find_symbol(const Elf& elf, const Source& source, std::string_view name) {
  if (elf.tables.symbols == 0 || elf.tables.strings == 0) return std::nullopt;
  Addresses addresses(elf.headers, source);
  if (elf.tables.gnu_hash != 0) return find_by_gnu_hash(elf, addresses, name);
  if (elf.tables.hash != 0) return find_by_hash(elf, addresses, name);
  return std::nullopt;
}

}  // namespace stint::elf
