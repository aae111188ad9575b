#include "abi/ledger_reader.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace stint::abi {
namespace {

template <class T>
T read_at(ByteView bytes, uint64_t offset) {
  T value{};
  if (offset <= bytes.size() && sizeof(T) <= bytes.size() - offset) {
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
  }
  return value;
}

struct Texts {
  std::string name;
  std::string directory;
};

// The two texts of an entry; false if they do not fit into it.
bool read_texts(ByteView entry_bytes, const LedgerEntry& entry, Texts& texts) {
  uint64_t size = uint64_t{entry.name_size} + entry.directory_size;
  if (entry.name_size > kLedgerMaxText || entry.directory_size > kLedgerMaxText) return false;
  if (kLedgerFixedSize + size > entry_bytes.size()) return false;
  std::string_view all = text_of(entry_bytes.subspan(kLedgerFixedSize, size));
  texts = {std::string(all.substr(0, entry.name_size)), std::string(all.substr(entry.name_size))};
  return true;
}

void read_entry(ByteView bytes, LedgerProcess& process) {
  LedgerEntry entry = read_at<LedgerEntry>(bytes, 0);
  Texts texts;
  if (!read_texts(bytes, entry, texts)) return;
  if (entry.kind == kLedgerOpened) {
    OpenedNote note = read_at<OpenedNote>(bytes, 0);
    if (note.fd < 0) return;
    process.descriptors[note.fd] = {std::move(texts.name), std::move(texts.directory), note.directory_fd, note.flags,
                                    note.dup_of};
  } else if (entry.kind == kLedgerObject) {
    ObjectNote note = read_at<ObjectNote>(bytes, 0);
    process.objects.push_back(
        {std::move(texts.name), std::move(texts.directory), note.load_address, note.link_namespace});
  } else if (entry.kind == kLedgerExec) {
    process.last_exec = std::move(texts.name);
  }
}

// Hops from entry to entry; over granules of zeros, which were reserved and not written any more, one by one.
void read_chunk(ByteView chunk, uint32_t used, LedgerProcess& process) {
  uint64_t end = std::min<uint64_t>(used, chunk.size());
  for (uint64_t offset = sizeof(LedgerChunk); offset + kLedgerFixedSize <= end;) {
    uint32_t capacity = read_at<LedgerEntry>(chunk, offset).capacity;
    if (capacity == 0) {
      offset += kLedgerGranule;
      continue;
    }
    if (capacity % kLedgerGranule != 0 || capacity > end - offset) return;
    read_entry(chunk.subspan(offset, capacity), process);
    offset += capacity;
  }
}

Result<LedgerHeader> read_header(ByteView bytes) {
  LedgerHeader header = read_at<LedgerHeader>(bytes, 0);
  if (header.magic != kLedgerMagic) return damaged("not a ledger");
  if (header.version != kLedgerVersion) {
    return unfit(fmt::format("ledger of version {}, this program reads version {}", header.version, kLedgerVersion));
  }
  if (header.chunk_size != kLedgerChunkSize || header.chunk_count == 0 || header.chunk_count > kLedgerMaxChunks ||
      header.chunks_offset != ledger_chunks_offset(header.chunk_count)) {
    return damaged("ledger with an impossible header");
  }
  if (bytes.size() < ledger_size(header.chunk_count)) return damaged("ledger that is cut off");
  return header;
}

}  // namespace

std::string LedgerDescriptor::path() const {
  if (name.empty() || name.front() == '/') return name;
  if (directory.empty() || directory_fd != AT_FDCWD) return "";
  return directory.back() == '/' ? directory + name : directory + "/" + name;
}

const LedgerProcess* Ledger::find(uint32_t pid) const {
  for (auto process = processes.rbegin(); process != processes.rend(); ++process) {
    if (process->pid == pid) return &*process;
  }
  return nullptr;
}

Result<Ledger> read_ledger(ByteView bytes) {
  LedgerHeader header = TRY(read_header(bytes));
  std::map<uint64_t, LedgerProcess> by_incarnation;
  for (uint32_t number = 0; number < header.chunk_count; ++number) {
    uint64_t owner = read_at<uint64_t>(bytes, sizeof(LedgerHeader) + number * sizeof(uint64_t));
    if (owner == 0) continue;
    ByteView chunk_bytes = bytes.subspan(header.chunks_offset + uint64_t{number} * kLedgerChunkSize, kLedgerChunkSize);
    LedgerChunk chunk = read_at<LedgerChunk>(chunk_bytes, 0);
    // A chunk that was just taken, or is being given back, belongs to nobody yet.
    if (chunk.incarnation == 0 || owner != ((chunk.incarnation << 32) | chunk.pid)) continue;
    LedgerProcess& process = by_incarnation[chunk.incarnation];
    process.pid = chunk.pid;
    process.incarnation = chunk.incarnation;
    process.parent = chunk.parent;
    if (chunk.areas.proof_value != 0) process.areas = chunk.areas;
    read_chunk(chunk_bytes, chunk.used, process);
  }
  Ledger ledger{.processes = {}, .lost = header.lost};
  for (auto& [incarnation, process] : by_incarnation) ledger.processes.push_back(std::move(process));
  return ledger;
}

Bytes empty_ledger(uint32_t chunks) {
  CHECK(chunks > 0 && chunks <= kLedgerMaxChunks);
  LedgerHeader header{};
  header.magic = kLedgerMagic;
  header.version = kLedgerVersion;
  header.chunk_size = kLedgerChunkSize;
  header.chunk_count = chunks;
  header.chunks_offset = ledger_chunks_offset(chunks);
  Bytes page(kPageSize);
  std::memcpy(page.data(), &header, sizeof header);
  return page;
}

}  // namespace stint::abi
