#include "files/hash_cache.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "elf/elf.h"
#include "files/content.h"
#include "image/codec.h"
#include "sys/file.h"
#include "sys/inode.h"

namespace stint::files {
namespace {

constexpr uint64_t kMostNotes = 1 << 20;  // real ones are below a page
constexpr uint64_t kVersion = 1;          // of the cache's file, and of what content's hash is computed over

struct StoredEntry {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t mtime_ns = 0, ctime_ns = 0;
  Hash128 content;
  std::string build_id;
  template <class A>
  void fields(A& a) {
    a("device", device), a("inode", inode), a("size", size), a("mtime_ns", mtime_ns), a("ctime_ns", ctime_ns);
    a("content", content), a("build_id", build_id);
  }
};

struct StoredCache {
  static constexpr const char* kName = "hash cache";
  uint64_t version = kVersion;
  std::vector<StoredEntry> entries;  // the one that was used longest ago first
  template <class A>
  void fields(A& a) {
    a("version", version), a("entries", entries);
  }
};

// The GNU build-id of an ELF file; empty where there is none.
Result<std::string> read_build_id(int fd, const struct stat& stat) {
  Bytes start(std::min<uint64_t>(static_cast<uint64_t>(stat.st_size), 16 << 10));
  TRY(sys::pread_all(fd, start, 0));
  Result<elf::Headers> headers = elf::parse_headers(start);
  if (!headers.has_value()) return std::string();
  elf::Notes notes;
  for (const elf::ProgramHeader& segment : headers->segments) {
    if (segment.type != PT_NOTE || segment.filesz > kMostNotes) continue;
    Bytes content(segment.filesz);
    content.resize(TRY(sys::pread(fd, content, segment.offset)));
    elf::read_notes(content, segment.align, notes);
  }
  return notes.build_id;
}

}  // namespace

bool times_tell(const struct stat& stat, int64_t now_ns) {
  return std::max(sys::mtime_ns(stat), sys::ctime_ns(stat)) < now_ns - kTimesSettleNs;
}

HashCache::HashCache(std::string path, size_t limit) : path_(std::move(path)), limit_(limit) { load(); }

HashCache::Key HashCache::key_of(const struct stat& stat) {
  return {stat.st_dev, stat.st_ino, static_cast<uint64_t>(stat.st_size), sys::mtime_ns(stat), sys::ctime_ns(stat)};
}

void HashCache::load() {
  Result<Bytes> bytes = sys::read_file(path_);
  if (!bytes.has_value() || bytes->size() < sizeof(uint64_t)) return;
  ByteView body = ByteView(*bytes).first(bytes->size() - sizeof(uint64_t));
  uint64_t sum = 0;
  std::memcpy(&sum, bytes->data() + body.size(), sizeof(sum));
  if (hash64(body) != sum) return;
  Result<StoredCache> stored = image::decode<StoredCache>(body);
  if (!stored.has_value() || stored->version != kVersion) return;
  for (const StoredEntry& entry : stored->entries)
    entries_[{entry.device, entry.inode, entry.size, entry.mtime_ns, entry.ctime_ns}] = {
        .known = {.content = entry.content, .build_id = entry.build_id}, .used = ++uses_};
}

std::optional<KnownFile> HashCache::find(const struct stat& stat) {
  std::map<Key, Entry>::iterator found = entries_.find(key_of(stat));
  if (found == entries_.end()) return {};
  found->second.used = ++uses_;
  return found->second.known;
}

void HashCache::remember(const struct stat& stat, const KnownFile& known) {
  entries_[key_of(stat)] = {.known = known, .used = ++uses_};
  learned_ = true;
}

Result<> HashCache::store() {
  if (!learned_ || path_.empty()) return {};
  std::vector<std::pair<Key, Entry>> by_use(entries_.begin(), entries_.end());
  std::ranges::sort(by_use, {}, [](const std::pair<Key, Entry>& entry) { return entry.second.used; });
  if (by_use.size() > limit_) by_use.erase(by_use.begin(), by_use.end() - static_cast<ptrdiff_t>(limit_));
  StoredCache stored;
  for (const auto& [key, entry] : by_use) {
    auto [device, inode, size, mtime_ns, ctime_ns] = key;
    stored.entries.push_back({.device = device,
                              .inode = inode,
                              .size = size,
                              .mtime_ns = mtime_ns,
                              .ctime_ns = ctime_ns,
                              .content = entry.known.content,
                              .build_id = entry.known.build_id});
  }
  Bytes bytes = image::encode(stored);
  uint64_t sum = hash64(bytes);
  const std::byte* tail = reinterpret_cast<const std::byte*>(&sum);
  bytes.insert(bytes.end(), tail, tail + sizeof(sum));
  // Two checkpoints may end at once: each has a name of its own, and the last rename wins.
  std::string partial = fmt::format("{}.{}", path_, ::getpid());
  sys::UniqueFd file = TRY(sys::open(partial, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  Result<> written = sys::write_all(file.get(), bytes).in(partial);
  if (written.has_value()) written = sys::rename(partial, path_);
  if (!written.has_value()) {
    Result<> gone =
        sys::unlink(partial);  // What could not be written is of no use; that it stays would be a smaller harm.
    return written;
  }
  learned_ = false;
  return {};
}

Result<KnownFile> know_file(int fd, HashCache& cache) {
  int64_t now_ns = sys::realtime_ns();
  struct stat before = TRY(sys::fstat(fd));
  if (std::optional<KnownFile> known = cache.find(before)) return *known;
  sys::UniqueFd own = TRY(sys::reopen(fd, O_RDONLY));
  KnownFile known{.content = TRY(hash_content(own.get(), static_cast<uint64_t>(before.st_size))),
                  .build_id = TRY(read_build_id(own.get(), before))};
  struct stat after = TRY(sys::fstat(own.get()));
  if (before.st_size != after.st_size || sys::mtime_ns(before) != sys::mtime_ns(after) ||
      sys::ctime_ns(before) != sys::ctime_ns(after))
    return refused("it changes while it is being read");
  if (times_tell(before, now_ns)) cache.remember(before, known);
  return known;
}

}  // namespace stint::files
