#include "agent/ledger.h"

#include <asm/unistd_64.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

#include "agent/guest.h"

// Set for good by vfork and clone (syscall_x86_64.S): from then on a note may come from a child in its parent's memory.
extern "C" {
__attribute__((visibility("hidden"))) unsigned char stint_memory_shared = 0;
}

namespace stint::agent {
namespace {

using abi::LedgerChunk;
using abi::LedgerEntry;
using abi::ObjectNote;
using abi::OpenedNote;

// Descriptors above are left to the kernel's word.
constexpr int kIndexed = 65536;
constexpr uint64_t kIndexBytes = sizeof(uint32_t) * kIndexed;
constexpr int kFreeEntries = 32;

enum Alive : uint32_t {
  kForked = 0,  // the kernel has wiped the page: this is a child that has not noticed yet
  kTaking = 1,
  kAlive = 2,
};

// In pages that the kernel wipes at fork (MADV_WIPEONFORK), and not at vfork; the index lies behind it.
struct Wiped {
  uint32_t alive;  // atomic, Alive
};

struct State {
  abi::LedgerHeader* ledger = nullptr;  // null: no ledger, nothing is noted
  Wiped* wiped = nullptr;
  // The last entry of each descriptor as its offset in granules, 0 for none. Whoever takes one out owns that entry.
  uint32_t* index = nullptr;
  uint32_t free_entries[kFreeEntries] = {};  // the same for entries that were given back
  uint32_t exec_entry = 0;                   // and for the note of the last exec
  uint32_t pid = 0;
  uint32_t chunk = 0;        // the number of the one that is being filled
  uint32_t first_chunk = 0;  // the one that carries the areas
  uint64_t incarnation = 0;
  uint64_t parent = 0;
};

State state;

char* at(uint64_t offset) { return (char*)state.ledger + offset; }
// Who owns a chunk: the pid below, the low half of the incarnation above.
uint64_t* owner_word(uint32_t chunk) { return (uint64_t*)at(sizeof(abi::LedgerHeader)) + chunk; }
LedgerChunk* chunk_at(uint32_t chunk) {
  return (LedgerChunk*)at(state.ledger->chunks_offset + uint64_t{chunk} * abi::kLedgerChunkSize);
}
LedgerEntry* entry_at(uint32_t granule) { return (LedgerEntry*)at(uint64_t{granule} * abi::kLedgerGranule); }
uint32_t granule_of(const void* entry) { return ((char*)entry - (char*)state.ledger) / abi::kLedgerGranule; }

void lose() { __atomic_fetch_add(&state.ledger->lost, 1, __ATOMIC_RELAXED); }

// A chunk's old entries must be zeros before it has an owner's incarnation: a reader hops from one to the next.
void prepare_chunk(uint32_t number) {
  LedgerChunk* chunk = chunk_at(number);
  store(&chunk->incarnation, uint64_t{0});
  uint32_t used = chunk->used < abi::kLedgerChunkSize ? chunk->used : abi::kLedgerChunkSize;
  clear_bytes(chunk, used > sizeof(LedgerChunk) ? used : sizeof(LedgerChunk));
  chunk->parent = state.parent;
  chunk->pid = state.pid;
  chunk->used = sizeof(LedgerChunk);
  store(&chunk->incarnation, state.incarnation);
}

uint64_t owner_of(uint64_t incarnation) { return (incarnation << 32) | state.pid; }
bool gone(uint32_t pid) { return system_call(__NR_kill, pid, 0) == -3 /* ESRCH */; }

// Takes a free chunk, else one whose owner is gone. Returns its number, or -1.
int take_chunk() {
  uint32_t count = state.ledger->chunk_count;
  for (int pass = 0; pass < 2; ++pass) {
    for (uint32_t i = 0; i < count; ++i) {
      uint32_t number = (state.pid + i) % count;
      uint64_t owner = load(owner_word(number));
      uint32_t pid = owner;
      bool takeable = owner == 0 || (pass == 1 && pid != state.pid && gone(pid));
      if (takeable && replace(owner_word(number), owner, owner_of(state.incarnation))) {
        prepare_chunk(number);
        return number;
      }
    }
  }
  return -1;
}

// Reserves an entry of at least size bytes, or null.
LedgerEntry* reserve(uint32_t size) {
  uint32_t capacity = (size + abi::kLedgerGranule - 1) & ~(abi::kLedgerGranule - 1);
  for (int attempt = 0; attempt < 4; ++attempt) {
    uint32_t number = load(&state.chunk);
    LedgerChunk* chunk = chunk_at(number);
    // A full chunk is not added to any more, so that the count cannot wrap.
    if (load(&chunk->used) + capacity <= abi::kLedgerChunkSize) {
      uint32_t start = __atomic_fetch_add(&chunk->used, capacity, __ATOMIC_ACQ_REL);
      if (start + capacity <= abi::kLedgerChunkSize) {
        LedgerEntry* entry = (LedgerEntry*)((char*)chunk + start);
        store(&entry->capacity, capacity);
        return entry;
      }
    }
    int next = take_chunk();
    if (next < 0) return nullptr;
    // Two threads may both have taken one; the loser's stays with the process, empty.
    replace(&state.chunk, number, uint32_t(next));
  }
  return nullptr;
}

void give_back(LedgerEntry* entry) {
  store(&entry->kind, uint32_t{abi::kLedgerNothing});
  for (uint32_t& slot : state.free_entries) {
    if (load(&slot) == 0 && replace(&slot, 0u, granule_of(entry))) return;
  }
}

LedgerEntry* take_given_back(uint32_t size) {
  for (uint32_t& slot : state.free_entries) {
    uint32_t granule = load(&slot);
    if (granule != 0 && entry_at(granule)->capacity >= size && replace(&slot, granule, 0u)) return entry_at(granule);
  }
  return nullptr;
}

// An entry to write into: the old one if it is large enough, else one given back, else a new one.
LedgerEntry* entry_for(uint32_t size, LedgerEntry* old) {
  if (old != nullptr) {
    store(&old->kind, uint32_t{abi::kLedgerNothing});
    if (old->capacity >= size) return old;
    give_back(old);
  }
  LedgerEntry* entry = take_given_back(size);
  if (entry == nullptr) entry = reserve(size);
  if (entry == nullptr) lose();
  return entry;
}

LedgerEntry* old_note(int fd) {
  uint32_t granule = __atomic_exchange_n(&state.index[fd], 0, __ATOMIC_ACQ_REL);
  return granule == 0 ? nullptr : entry_at(granule);
}

void set_note(int fd, OpenedNote* note) {
  store(&note->entry.kind, uint32_t{abi::kLedgerOpened});
  uint32_t other = __atomic_exchange_n(&state.index[fd], granule_of(note), __ATOMIC_ACQ_REL);
  if (other != 0) give_back(entry_at(other));  // the number was noted by two threads at once
}

// Texts follow the fixed fields: the name, then the directory.
void put_texts(LedgerEntry* entry, const char* name, uint32_t name_size, const char* directory,
               uint32_t directory_size) {
  char* text = (char*)entry + abi::kLedgerFixedSize;
  entry->name_size = name_size;
  entry->directory_size = directory_size;
  copy_bytes(text, name, name_size);
  copy_bytes(text + name_size, directory, directory_size);
}

bool has_slash(const char* name) {
  while (*name != 0 && *name != '/') ++name;
  return *name == '/';
}

// The directory that a relative name starts from, without its final zero; 0 bytes if the kernel does not tell.
uint32_t current_directory(char (&buffer)[abi::kLedgerMaxText]) {
  long size = system_call(__NR_getcwd, buffer, sizeof buffer);
  return size > 1 ? size - 1 : 0;
}

// The entry at an offset of the chunk, or null if none fits there any more.
LedgerEntry* entry_in(LedgerChunk* chunk, uint64_t offset) {
  uint32_t used = load(&chunk->used);
  if (used > abi::kLedgerChunkSize) used = abi::kLedgerChunkSize;
  if (offset + abi::kLedgerFixedSize > used) return nullptr;
  LedgerEntry* entry = (LedgerEntry*)((char*)chunk + offset);
  return load(&entry->capacity) <= used - offset ? entry : nullptr;
}
LedgerEntry* first_entry(LedgerChunk* chunk) { return entry_in(chunk, sizeof(LedgerChunk)); }
LedgerEntry* next_entry(LedgerChunk* chunk, LedgerEntry* entry) {
  uint32_t capacity = load(&entry->capacity);
  return entry_in(chunk, (char*)entry - (char*)chunk + (capacity == 0 ? abi::kLedgerGranule : capacity));
}

void each_entry(LedgerChunk* chunk, void (*visit)(LedgerEntry*)) {
  for (LedgerEntry* entry = first_entry(chunk); entry != nullptr; entry = next_entry(chunk, entry)) visit(entry);
}

void each_entry_of(uint64_t owner, void (*visit)(LedgerEntry*)) {
  for (uint32_t number = 0; number < state.ledger->chunk_count; ++number) {
    if (load(owner_word(number)) == owner) each_entry(chunk_at(number), visit);
  }
}

// Copies what stays true across fork and exec: names of descriptors; the child keeps them in entries of its own.
void inherit(LedgerEntry* from) {
  uint32_t kind = load(&from->kind);
  if (kind != abi::kLedgerOpened && kind != abi::kLedgerObject) return;
  uint32_t size = abi::kLedgerFixedSize + from->name_size + from->directory_size;
  if (size > from->capacity) return;
  int fd = ((OpenedNote*)from)->fd;
  if (kind == abi::kLedgerOpened && (fd < 0 || fd >= kIndexed)) return;
  LedgerEntry* to = entry_for(size, nullptr);
  if (to == nullptr) return;
  copy_bytes(&to->name_size, &from->name_size, size - offsetof(LedgerEntry, name_size));
  if (kind == abi::kLedgerOpened) {
    set_note(fd, (OpenedNote*)to);
  } else {
    store(&to->kind, kind);
  }
}

void inherit_descriptor(LedgerEntry* from) {
  if (load(&from->kind) == abi::kLedgerOpened) inherit(from);
}

// The chunks of an earlier process with this pid, or of this one before its exec, are free now.
void release_earlier_chunks() {
  for (uint32_t number = 0; number < state.ledger->chunk_count; ++number) {
    uint64_t owner = load(owner_word(number));
    if (uint32_t(owner) != state.pid || owner == owner_of(state.incarnation)) continue;
    store(&chunk_at(number)->incarnation, uint64_t{0});
    store(owner_word(number), uint64_t{0});
  }
}

bool begin_incarnation(uint64_t parent) {
  state.pid = system_call(__NR_getpid);
  state.parent = parent;
  state.incarnation = __atomic_add_fetch(&state.ledger->next_incarnation, 1, __ATOMIC_ACQ_REL);
  int chunk = take_chunk();
  if (chunk < 0) {
    lose();
    return false;
  }
  state.chunk = state.first_chunk = chunk;
  return true;
}

// In the child of a fork: a chunk of its own, with what the parent had noted.
void become_another_process() {
  if (!replace(&state.wiped->alive, uint32_t{kForked}, uint32_t{kTaking})) return;
  uint64_t parent = state.incarnation;
  uint64_t parent_owner = owner_of(parent);
  abi::LedgerAreas areas = chunk_at(state.first_chunk)->areas;
  clear_bytes(state.free_entries, sizeof state.free_entries);
  state.exec_entry = 0;
  if (!begin_incarnation(parent)) {
    state.ledger = nullptr;
    return;
  }
  release_earlier_chunks();
  chunk_at(state.first_chunk)->areas = areas;
  each_entry_of(parent_owner, inherit);
  store(&state.wiped->alive, uint32_t{kAlive});
}

bool may_note() {
  if (state.ledger == nullptr) return false;
  if (load(&state.wiped->alive) == kForked) become_another_process();
  if (load(&state.wiped->alive) != kAlive) return false;
  // A vfork child has its parent's memory and a descriptor table of its own: what it does there is not the parent's.
  return stint_memory_shared == 0 || system_call(__NR_getpid) == long{state.pid};
}

bool sound(const abi::LedgerHeader* header, uint64_t size) {
  return header->magic == abi::kLedgerMagic && header->version == abi::kLedgerVersion &&
         header->chunk_size == abi::kLedgerChunkSize && header->chunk_count > 0 &&
         header->chunk_count <= abi::kLedgerMaxChunks &&
         header->chunks_offset == abi::ledger_chunks_offset(header->chunk_count) &&
         abi::ledger_size(header->chunk_count) <= size;
}

abi::LedgerHeader* map_ledger(const char* path) {
  long fd = system_call(__NR_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return nullptr;
  long size = system_call(__NR_lseek, fd, 0, 2 /* SEEK_END */);
  long map = -1;
  if (size >= long{sizeof(abi::LedgerHeader)}) {
    map = system_call(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    // Else the first touch of a chunk has the kernel read ahead through all of the file: 2 ms where it reads 8 MiB.
    if (map > 0) system_call(__NR_madvise, map, size, 1 /* MADV_RANDOM */);
  }
  system_call(__NR_close, fd);
  if (map < 0 && map > -4096) return nullptr;
  abi::LedgerHeader* header = (abi::LedgerHeader*)map;
  if (sound(header, size)) return header;
  system_call(__NR_munmap, map, size);
  return nullptr;
}

bool forget_object_in(LedgerChunk* chunk, uint64_t load_address) {
  for (LedgerEntry* entry = first_entry(chunk); entry != nullptr; entry = next_entry(chunk, entry)) {
    ObjectNote* note = (ObjectNote*)entry;
    if (load(&entry->kind) != abi::kLedgerObject || note->load_address != load_address) continue;
    give_back(entry);
    return true;
  }
  return false;
}

}  // namespace

void start_ledger(const char* path, uint64_t previous) {
  abi::LedgerHeader* ledger = map_ledger(path);
  if (ledger == nullptr) return;
  long map = system_call(__NR_mmap, 0, kIndexBytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map < 0 && map > -4096) return;
  state.wiped = (Wiped*)map;
  state.index = (uint32_t*)(map + 4096);
  system_call(__NR_madvise, map, kIndexBytes + 4096, 18 /* MADV_WIPEONFORK */);
  state.ledger = ledger;
  if (!begin_incarnation(previous)) {
    state.ledger = nullptr;
    return;
  }
  // Only a process that called exec itself goes on with its notes: a spawned one has another pid than their writer.
  if (previous != 0) each_entry_of(owner_of(previous), inherit_descriptor);
  release_earlier_chunks();
  store(&state.wiped->alive, uint32_t{kAlive});
}

void publish_areas(const abi::LedgerAreas& areas) {
  if (state.ledger == nullptr) return;
  chunk_at(state.first_chunk)->areas = areas;
}

uint64_t incarnation() { return state.ledger == nullptr ? 0 : state.incarnation; }

void note_opened(int fd, int directory_fd, const char* name, uint32_t flags) {
  if (fd < 0 || fd >= kIndexed || !may_note()) return;
  char directory[abi::kLedgerMaxText];
  bool starts_here = name[0] != '/' && directory_fd == AT_FDCWD;
  uint32_t directory_size = starts_here ? current_directory(directory) : 0;
  uint32_t name_size = text_size(name, abi::kLedgerMaxText);
  uint32_t size = abi::kLedgerFixedSize + name_size + directory_size;

  OpenedNote* note = (OpenedNote*)entry_for(size, old_note(fd));
  if (note == nullptr) return;
  note->fd = fd;
  note->dup_of = -1;
  note->directory_fd = directory_fd;
  note->flags = flags;
  put_texts(&note->entry, name, name_size, directory, directory_size);
  set_note(fd, note);
}

void note_duplicate(int fd, int from) {
  if (fd < 0 || fd >= kIndexed || fd == from || !may_note()) return;
  OpenedNote* source = nullptr;
  if (from >= 0 && from < kIndexed) {
    uint32_t granule = load(&state.index[from]);
    if (granule != 0) source = (OpenedNote*)entry_at(granule);
  }
  if (source != nullptr && load(&source->entry.kind) != abi::kLedgerOpened) source = nullptr;
  uint32_t name_size = source == nullptr ? 0 : source->entry.name_size;
  uint32_t directory_size = source == nullptr ? 0 : source->entry.directory_size;
  if (name_size > abi::kLedgerMaxText || directory_size > abi::kLedgerMaxText) return;  // rewritten under our eyes

  OpenedNote* note = (OpenedNote*)entry_for(abi::kLedgerFixedSize + name_size + directory_size, old_note(fd));
  if (note == nullptr) return;
  note->directory_fd = source == nullptr ? AT_FDCWD : source->directory_fd;
  note->flags = source == nullptr ? 0 : source->flags;
  const char* texts = (const char*)source + abi::kLedgerFixedSize;
  put_texts(&note->entry, texts, name_size, texts + name_size, directory_size);
  bool rewritten = source != nullptr && load(&source->entry.kind) != abi::kLedgerOpened;
  if (rewritten) note->entry.name_size = note->entry.directory_size = 0;
  note->fd = fd;
  note->dup_of = from;
  set_note(fd, note);
}

void note_object(const char* name, uint64_t load_address, int64_t link_namespace) {
  if (!may_note()) return;
  char directory[abi::kLedgerMaxText];
  uint32_t directory_size =
      name[0] != '/' && has_slash(name) ? current_directory(directory) : 0;  // not linux-vdso.so.1
  uint32_t name_size = text_size(name, abi::kLedgerMaxText);
  ObjectNote* note = (ObjectNote*)entry_for(abi::kLedgerFixedSize + name_size + directory_size, nullptr);
  if (note == nullptr) return;
  note->load_address = load_address;
  note->link_namespace = link_namespace;
  put_texts(&note->entry, name, name_size, directory, directory_size);
  store(&note->entry.kind, uint32_t{abi::kLedgerObject});
}

void forget_object(uint64_t load_address) {
  if (!may_note()) return;
  uint64_t owner = owner_of(state.incarnation);
  for (uint32_t number = 0; number < state.ledger->chunk_count; ++number) {
    if (load(owner_word(number)) == owner && forget_object_in(chunk_at(number), load_address)) return;
  }
}

void note_exec(const char* path) {
  if (!may_note()) return;
  uint32_t granule = __atomic_exchange_n(&state.exec_entry, 0, __ATOMIC_ACQ_REL);
  uint32_t name_size = text_size(path, abi::kLedgerMaxText);
  LedgerEntry* entry = entry_for(abi::kLedgerFixedSize + name_size, granule == 0 ? nullptr : entry_at(granule));
  if (entry == nullptr) return;
  put_texts(entry, path, name_size, path, 0);
  store(&entry->kind, uint32_t{abi::kLedgerExec});
  store(&state.exec_entry, granule_of(entry));
}

void forked() {
  if (state.ledger == nullptr || system_call(__NR_getpid) == long{state.pid}) return;
  store(&state.wiped->alive, uint32_t{kForked});  // where the kernel is too old to wipe
  become_another_process();
}

}  // namespace stint::agent
