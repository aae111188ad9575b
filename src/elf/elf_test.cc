#include "elf/elf.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <gelf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libelf.h>
#include <link.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <set>

#include "sys/file.h"

namespace stint::elf {
namespace {

Bytes file(const std::string& path) {
  Result<Bytes> bytes = sys::read_file(path);
  EXPECT_TRUE(bytes.has_value()) << path;
  return bytes.has_value() ? std::move(*bytes) : Bytes{};
}

// The path under which ld.so loaded the C library into this test.
std::string libc_path() {
  Dl_info info{};
  EXPECT_NE(dladdr(reinterpret_cast<void*>(&std::strerror), &info), 0);
  return std::filesystem::canonical(info.dli_fname);
}

// An object as libelf sees it.
class Reference {
 public:
  explicit Reference(const std::string& path) : fd_(sys::open(path, O_RDONLY).value()) {
    elf_version(EV_CURRENT);
    elf_ = elf_begin(fd_.get(), ELF_C_READ, nullptr);
  }
  ~Reference() { elf_end(elf_); }

  std::vector<GElf_Phdr> segments() const {
    size_t count = 0;
    elf_getphdrnum(elf_, &count);
    std::vector<GElf_Phdr> all(count);
    for (size_t i = 0; i < count; ++i) gelf_getphdr(elf_, static_cast<int>(i), &all[i]);
    return all;
  }
  void each_section(const std::function<void(const GElf_Shdr&, Elf_Data*)>& look) const {
    Elf_Scn* section = nullptr;
    while ((section = elf_nextscn(elf_, section)) != nullptr) {
      GElf_Shdr header;
      gelf_getshdr(section, &header);
      look(header, header.sh_type == SHT_NOBITS ? nullptr : elf_getdata(section, nullptr));
    }
  }
  std::string string(size_t table, size_t offset) const {
    const char* text = elf_strptr(elf_, table, offset);
    return text != nullptr ? text : "";
  }

 private:
  sys::UniqueFd fd_;
  ::Elf* elf_;
};

void expect_same_segments(const std::string& path) {
  Bytes bytes = file(path);
  Result<Elf> ours = parse({.bytes = bytes});
  ASSERT_TRUE(ours.has_value()) << path << ": " << ours.error().text();
  std::vector<GElf_Phdr> theirs = Reference(path).segments();
  ASSERT_EQ(ours->headers.segments.size(), theirs.size());
  for (size_t i = 0; i < theirs.size(); ++i) {
    const ProgramHeader& segment = ours->headers.segments[i];
    EXPECT_EQ(segment.type, theirs[i].p_type);
    EXPECT_EQ(segment.flags, theirs[i].p_flags);
    EXPECT_EQ(segment.offset, theirs[i].p_offset);
    EXPECT_EQ(segment.vaddr, theirs[i].p_vaddr);
    EXPECT_EQ(segment.filesz, theirs[i].p_filesz);
    EXPECT_EQ(segment.memsz, theirs[i].p_memsz);
    EXPECT_EQ(segment.align, theirs[i].p_align);
  }
}

void expect_same_dynamic(const std::string& path) {
  Bytes bytes = file(path);
  Result<Elf> ours = parse({.bytes = bytes});
  ASSERT_TRUE(ours.has_value());
  std::vector<std::string> needed;
  std::string soname;
  Reference reference(path);
  reference.each_section([&](const GElf_Shdr& header, Elf_Data* data) {
    if (header.sh_type != SHT_DYNAMIC) return;
    for (int i = 0; static_cast<size_t>(i) < header.sh_size / header.sh_entsize; ++i) {
      GElf_Dyn entry;
      gelf_getdyn(data, i, &entry);
      if (entry.d_tag == DT_NEEDED) needed.push_back(reference.string(header.sh_link, entry.d_un.d_val));
      if (entry.d_tag == DT_SONAME) soname = reference.string(header.sh_link, entry.d_un.d_val);
    }
  });
  EXPECT_EQ(ours->needed, needed) << path;
  EXPECT_EQ(ours->soname, soname) << path;
}

// Every defined dynamic symbol that libelf lists must be found under its name; returns how many there were.
size_t expect_same_symbols(const std::string& path) {
  Bytes bytes = file(path);
  Source source{.bytes = bytes};
  Result<Elf> ours = parse(source);
  EXPECT_TRUE(ours.has_value());
  std::map<std::string, std::set<uint64_t>> theirs;
  Reference reference(path);
  reference.each_section([&](const GElf_Shdr& header, Elf_Data* data) {
    if (header.sh_type != SHT_DYNSYM) return;
    for (int i = 1; static_cast<size_t>(i) < header.sh_size / header.sh_entsize; ++i) {
      GElf_Sym symbol;
      gelf_getsym(data, i, &symbol);
      bool visible = symbol.st_shndx != SHN_UNDEF && GELF_ST_BIND(symbol.st_info) != STB_LOCAL;
      if (visible) theirs[reference.string(header.sh_link, symbol.st_name)].insert(symbol.st_value);
    }
  });
  for (const auto& [name, values] : theirs) {
    std::optional<Symbol> found = find_symbol(*ours, source, name);
    EXPECT_TRUE(found.has_value() && values.contains(found->value)) << path << " " << name;
  }
  return theirs.size();
}

TEST(Elf, SeesTheSegmentsThatLibelfSees) {
  for (const std::string& path : {std::string("/bin/ls"), libc_path(), std::string("/proc/self/exe")}) {
    expect_same_segments(path);
    expect_same_dynamic(path);
  }
}

TEST(Elf, FindsTheSymbolsThatLibelfLists) {
  EXPECT_GT(expect_same_symbols(libc_path()), 1000u);
  expect_same_symbols("/bin/ls");
}

TEST(Elf, DoesNotFindWhatIsNotThere) {
  Bytes bytes = file(libc_path());
  Source source{.bytes = bytes};
  Elf libc = *parse(source);
  EXPECT_FALSE(find_symbol(libc, source, "no_such_symbol_here").has_value());
  EXPECT_FALSE(find_symbol(libc, source, "").has_value());
}

TEST(Elf, TellsAProgramFromALibrary) {
  Bytes ls = file("/bin/ls");
  Elf program = *parse({.bytes = ls});
  EXPECT_EQ(program.linkage, Linkage::kDynamic);
  EXPECT_EQ(program.interpreter, "/lib64/ld-linux-x86-64.so.2");
  EXPECT_TRUE(program.pie);
  EXPECT_FALSE(program.executable_stack);
  EXPECT_FALSE(program.go());
  EXPECT_EQ(program.notes.build_id.size(), 40u);
  EXPECT_FALSE(program.headers.relro().empty());
  EXPECT_THAT(program.needed, testing::Contains("libc.so.6"));

  Bytes ld = file("/lib64/ld-linux-x86-64.so.2");
  EXPECT_EQ(parse({.bytes = ld})->linkage, Linkage::kSharedObject);
  Bytes libc = file(libc_path());
  EXPECT_TRUE(parse({.bytes = libc})->thread_local_data);
}

// What the compiler makes of "int main() {}" with these options.
Elf compiled(const std::string& options) {
  char directory[] = "/tmp/stint-elf-test-XXXXXX";
  EXPECT_NE(mkdtemp(directory), nullptr);
  std::string program = std::string(directory) + "/program";
  std::string command = "echo 'int main(void){return 0;}' | cc -x c - -o " + program + " " + options;
  EXPECT_EQ(system(command.c_str()), 0) << command;
  Bytes bytes = file(program);
  std::filesystem::remove_all(directory);
  Result<Elf> elf = parse({.bytes = bytes});
  EXPECT_TRUE(elf.has_value()) << options;
  return elf.value_or(Elf{});
}

TEST(Elf, TellsTheKindsOfLinkage) {
  EXPECT_EQ(compiled("-static").linkage, Linkage::kStatic);
  EXPECT_EQ(compiled("-static-pie").linkage, Linkage::kStaticPie);
  EXPECT_EQ(compiled("-no-pie").linkage, Linkage::kDynamic);
  EXPECT_EQ(compiled("-shared -fPIC -nostdlib").linkage, Linkage::kSharedObject);
}

TEST(Elf, ReadsWhatTheLinkerWasTold) {
  Elf elf = compiled("-Wl,-z,execstack,-z,now,--build-id=0xabcdef01,-rpath,/opt/a:/opt/b,--enable-new-dtags -Wl,-s");
  EXPECT_TRUE(elf.executable_stack);
  EXPECT_TRUE(elf.bind_now);
  EXPECT_EQ(elf.notes.build_id, "abcdef01");
  EXPECT_EQ(elf.runpath, "/opt/a:/opt/b");
  EXPECT_EQ(compiled("-Wl,-z,x86-64-v2").notes.x86_isa_needed & 2, 2u);
  EXPECT_TRUE(compiled("-Wl,--build-id=none").notes.build_id.empty());
}

TEST(Elf, DoesNotNeedSections) {
  Bytes bytes = file("/bin/ls");
  Elf whole = *parse({.bytes = bytes});
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  header.e_shoff = header.e_shnum = header.e_shstrndx = 0;
  std::memcpy(bytes.data(), &header, sizeof(header));
  Elf stripped = *parse({.bytes = bytes});
  EXPECT_EQ(stripped.needed, whole.needed);
  EXPECT_EQ(stripped.notes.build_id, whole.notes.build_id);
}

TEST(Elf, KnowsAGoProgramByItsNote) {
  // name size, description size, type 4, "Go\0\0", "id12"
  const uint32_t note[] = {4, 4, 4, 0x00006f47, 0x32316469};
  Notes notes;
  read_notes(std::as_bytes(std::span(note)), 4, notes);
  EXPECT_TRUE(notes.go);
  EXPECT_TRUE(notes.build_id.empty());
}

TEST(Elf, FindsTheFunctionsOfTheVdsoInMemory) {
  uint64_t base = getauxval(AT_SYSINFO_EHDR);
  ASSERT_NE(base, 0u);
  Headers headers = *parse_headers({reinterpret_cast<const std::byte*>(base), kPageSize});
  Source vdso{{reinterpret_cast<const std::byte*>(base), headers.load_range().size()}, Layout::kMemory, base};
  Result<Elf> elf = parse(vdso);
  ASSERT_TRUE(elf.has_value());
  EXPECT_EQ(elf->soname, "linux-vdso.so.1");
  std::optional<Symbol> symbol = find_symbol(*elf, vdso, "__vdso_clock_gettime");
  ASSERT_TRUE(symbol.has_value());
  timespec now{};
  int (*clock_gettime_there)(clockid_t, timespec*);
  uint64_t address = base - elf->headers.load_range().start + symbol->value;
  std::memcpy(&clock_gettime_there, &address, sizeof(address));
  EXPECT_EQ(clock_gettime_there(CLOCK_MONOTONIC, &now), 0);
  EXPECT_GT(now.tv_sec, 0);
}

// ld.so relocates the pointers of the dynamic section in place.
TEST(Elf, FindsSymbolsOfALibraryAsLdSoLoadedIt) {
  link_map* map = nullptr;
  void* handle = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  ASSERT_NE(handle, nullptr);
  ASSERT_EQ(dlinfo(handle, RTLD_DI_LINKMAP, &map), 0);
  const std::byte* start = reinterpret_cast<const std::byte*>(map->l_addr);
  Headers headers = *parse_headers({start, kPageSize});
  Bytes copy(headers.load_range().size());
  for (const ProgramHeader& segment : headers.segments) {
    if (segment.type == PT_LOAD) std::memcpy(copy.data() + segment.vaddr, start + segment.vaddr, segment.memsz);
  }
  Source memory{copy, Layout::kMemory, map->l_addr};
  Result<Elf> libc = parse(memory);
  ASSERT_TRUE(libc.has_value()) << libc.error().text();
  std::optional<Symbol> symbol = find_symbol(*libc, memory, "getppid");
  ASSERT_TRUE(symbol.has_value());
  EXPECT_EQ(map->l_addr + symbol->value, reinterpret_cast<uint64_t>(dlsym(handle, "getppid")));
  dlclose(handle);
}

TEST(Elf, SaysWhatAForeignFileIs) {
  EXPECT_EQ(kind_of(bytes_of("#!/bin/sh\n")), FileKind::kScript);
  EXPECT_EQ(kind_of(bytes_of("hello")), FileKind::kOther);
  EXPECT_EQ(kind_of({}), FileKind::kOther);
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_machine = EM_AARCH64;
  ByteView bytes = std::as_bytes(std::span(&header, 1));
  EXPECT_EQ(kind_of(bytes), FileKind::kOtherMachine);
  header.e_machine = EM_386;
  header.e_ident[EI_CLASS] = ELFCLASS32;
  EXPECT_EQ(kind_of(bytes), FileKind::kElf32);
  EXPECT_FALSE(parse({.bytes = bytes}).has_value());
}

TEST(Elf, ReadsTheFirstLineOfAScript) {
  EXPECT_EQ(parse_script(bytes_of("#! /usr/bin/env  python3 -u \nx"))->interpreter, "/usr/bin/env");
  EXPECT_EQ(parse_script(bytes_of("#! /usr/bin/env  python3 -u \nx"))->argument, "python3 -u");
  EXPECT_EQ(parse_script(bytes_of("#!/bin/sh"))->interpreter, "/bin/sh");
  EXPECT_EQ(parse_script(bytes_of("#!/bin/sh\n"))->argument, "");
  EXPECT_FALSE(parse_script(bytes_of("#! \n/bin/sh")).has_value());
  EXPECT_FALSE(parse_script(bytes_of("/bin/sh")).has_value());
}

TEST(Elf, SurvivesEveryCutAndManyChangedBytes) {
  Bytes whole = file("/bin/true");
  for (size_t length = 0; length < 8192 && length < whole.size(); length += 7) {
    Source cut{.bytes = ByteView(whole).first(length)};
    Result<Elf> elf = parse(cut);
    EXPECT_FALSE(elf.has_value() && find_symbol(*elf, cut, "nothing").has_value());
  }
  for (size_t at = 0; at < 1024; ++at) {
    Bytes changed = whole;
    changed[at] = ~changed[at];
    Source source{.bytes = changed};
    Result<Elf> elf = parse(source);
    EXPECT_FALSE(elf.has_value() && find_symbol(*elf, source, "nothing").has_value());
  }
}

}  // namespace
}  // namespace stint::elf
