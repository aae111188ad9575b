#include "files/mapped_files.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "fd/path.h"
#include "files/content.h"
#include "mem/inherit.h"
#include "sys/file.h"
#include "sys/inode.h"
#include "sys/memory.h"
#include "sys/procfs.h"

namespace stint::files {
namespace {

// Up to this size a file that was changed just now is read while the job stands still.
constexpr uint64_t kMostReadInStop = 4 << 20;

// True if `fd` is the file that maps shows as this mapping's.
Result<bool> is_file_of(int fd, const proc::Vma& vma) {
  struct stat stat = TRY(sys::fstat(fd));
  if (stat.st_ino == vma.inode && stat.st_dev == vma.device()) return true;
  if (!S_ISREG(stat.st_mode) || stat.st_size == 0) return false;
  // The device may be one that stat(2) does not show: ask what maps shows for a mapping of ours.
  Result<sys::UniqueFd> readable = sys::reopen(fd, O_RDONLY);
  if (!readable.has_value()) return false;
  sys::Mapping page = TRY(sys::map_file(readable->get(), 1));
  uint64_t address = reinterpret_cast<uint64_t>(page.data());
  for (const proc::Vma& ours : TRY(proc::parse_maps(TRY(sys::read_proc(Pid{0}, "maps")))))
    if (ours.range.contains(address)) return ours.inode == vma.inode && ours.device() == vma.device();
  return false;
}

// The file behind `path`, if it is this mapping's.
std::optional<sys::UniqueFd> open_if_same(const std::string& path, const proc::Vma& vma) {
  Result<sys::UniqueFd> file = sys::open(path, O_PATH);
  if (!file.has_value()) return {};
  Result<bool> same = is_file_of(file->get(), vma);
  if (!same.has_value() || !*same) return {};
  return std::move(*file);
}

// A descriptor of a mapping's file that has lost its name; empty when nothing but memory has it.
std::optional<sys::UniqueFd> open_nameless(Pid pid, const proc::Vma& vma) {
  std::vector<std::string> places = {
      sys::proc_path(pid, "exe"),
      sys::proc_path(pid, fmt::format("map_files/{:x}-{:x}", vma.range.start, vma.range.end))};
  std::string table = sys::proc_path(pid, "fd");
  if (Result<std::vector<std::string>> numbers = sys::list_directory(table); numbers.has_value())
    for (const std::string& number : *numbers) places.push_back(table + "/" + number);
  for (const std::string& place : places) {
    Result<struct stat> there = sys::stat(place);
    if (!there.has_value() || there->st_ino != vma.inode) continue;
    if (std::optional<sys::UniqueFd> file = open_if_same(place, vma)) return file;
  }
  return {};
}

// Whether this failure of lstat means that nobody comes to the file by its name any more, and not that something is
// amiss.
bool name_is_gone(const Error& error) {
  return error.os_errno() == ENOENT || error.os_errno() == ENOTDIR || error.os_errno() == EACCES;
}

// One block of another process's memory, up to the last page that can be read: beyond the end of a file none can.
// Returns its size.
size_t read_block(int memory, uint64_t address, std::span<std::byte> to) {
  if (sys::pread_all(memory, to, address).has_value()) return to.size();
  std::ranges::fill(to, std::byte{0});
  size_t size = 0;
  for (size_t at = 0; at < to.size(); at += kPageSize) {
    std::span<std::byte> page = to.subspan(at, kPageSize);
    if (sys::pread_all(memory, page, address + at).has_value())
      size = at + kPageSize;
    else
      std::ranges::fill(page, std::byte{0});
  }
  return size;
}

}  // namespace

Result<MappedFiles::Entry*> MappedFiles::find_or_open(Pid pid, const proc::Vma& vma) {
  std::map<Shown, size_t>::iterator found = by_file_.find(shown(vma));
  if (found == by_file_.end()) {
    found = by_file_.emplace(shown(vma), entries_.size()).first;
    Entry& added = entries_.emplace_back();
    added.record.id = entries_.size();
    added.record.path = vma.path;
  }
  Entry& entry = entries_[found->second];
  if (entry.fd.valid()) return &entry;
  std::optional<sys::UniqueFd> file = open_by_name(entry, vma);
  entry.record.unlinked = !file.has_value();
  if (!file.has_value()) file = open_nameless(pid, vma);
  if (!file.has_value()) file = open_noted(vma);
  if (!file.has_value()) return &entry;
  entry.stat = TRY(sys::fstat(file->get()).in(vma.path));
  entry.record.device_node = S_ISCHR(entry.stat.st_mode);
  if (!S_ISREG(entry.stat.st_mode) && !entry.record.device_node)
    return refused(fmt::format("mapping of {}: it is neither a regular file nor a character device", vma.path));
  entry.fd = std::move(*file);
  // Mappings that were noted before it was found, of other processes.
  if (entry.may_write && !entry.record.device_node) TRY(note_shared_mapping(entry));
  entry.in_memory.clear();
  return &entry;
}

std::optional<sys::UniqueFd> MappedFiles::open_by_name(Entry& entry, const proc::Vma& vma) {
  std::vector<std::string> names = {vma.path};
  if (vma.deleted) names = fd::names_beside(vma.path, vma.inode);
  for (std::string& name : names) {
    std::optional<sys::UniqueFd> file = open_if_same(name, vma);
    if (!file.has_value()) continue;
    entry.record.path = std::move(name);
    return file;
  }
  return {};
}

std::optional<sys::UniqueFd> MappedFiles::open_noted(const proc::Vma& vma) {
  for (int fd : states_.descriptors_of(vma.inode)) {
    Result<bool> same = is_file_of(fd, vma);
    if (!same.has_value() || !*same) continue;
    Result<sys::UniqueFd> own = sys::reopen(fd, O_PATH);
    if (own.has_value()) return std::move(*own);
  }
  return {};
}

Result<> MappedFiles::note_shared_mapping(Entry& entry) {
  if (entry.record.unlinked && entry.stat.st_nlink > 0)
    return refused(
        fmt::format("{}: it is mapped shared and lives on under a name in another directory, which the kernel does not "
                    "tell: link it back",
                    entry.record.path));
  entry.record.file_state =
      TRY(states_.note_shared_mapping(entry.fd.get(), entry.stat, entry.record.path, entry.record.unlinked)
              .in(entry.record.path));
  return {};
}

void MappedFiles::look_ahead(Pid pid, const proc::Vma& vma) {
  // A mapping that is gone by now, or whose file is, will be met again in the stop, or not at all.
  Result<Entry*> entry = find_or_open(pid, vma);
  static_cast<void>(entry);
}

Result<uint64_t> MappedFiles::note(Pid pid, const proc::Vma& vma, bool may_write) {
  Entry& entry = *TRY(find_or_open(pid, vma));
  entry.noted = true;
  if (!entry.fd.valid()) {
    entry.in_memory.push_back({.pid = pid, .addresses = vma.range, .offset = vma.offset, .shared = vma.shared});
    entry.may_write |= may_write;
  } else if (may_write && !entry.record.device_node) {
    TRY(note_shared_mapping(entry));
  }
  return entry.record.id;
}

Result<> MappedFiles::settle(image::Sink& sink) {
  for (Entry& entry : entries_)
    if (entry.noted) TRY(settle(entry, sink).in(entry.record.path));
  return {};
}

Result<> MappedFiles::settle(Entry& entry, image::Sink& sink) {
  image::MappedFileRecord& record = entry.record;
  if (!entry.fd.valid()) return settle_from_memory(entry, sink);
  int64_t now_ns = sys::realtime_ns();
  entry.stat = TRY(sys::fstat(entry.fd.get()));
  record.device = entry.stat.st_dev;
  record.inode = entry.stat.st_ino;
  record.size = static_cast<uint64_t>(entry.stat.st_size);
  record.mtime_ns = sys::mtime_ns(entry.stat);
  record.ctime_ns = sys::ctime_ns(entry.stat);
  record.times_tell = times_tell(entry.stat, now_ns);
  // It may have been replaced since look_ahead().
  Result<struct stat> named = sys::lstat(record.path);
  if (!named.has_value() && !name_is_gone(named.error())) return std::move(named).error();
  record.unlinked = !named.has_value() || named->st_dev != entry.stat.st_dev || named->st_ino != entry.stat.st_ino;
  entry.known = cache_.find(entry.stat);
  // Who has changed it just now may be the job, which goes on before save().
  bool just_changed = !record.device_node && record.file_state == 0 && !record.times_tell;
  if (entry.known || !just_changed || record.size > kMostReadInStop) return {};
  Result<KnownFile> known = know_file(entry.fd.get(), cache_);
  if (known.has_value()) entry.known = std::move(*known);  // Else save() tells why, if it needs it.
  return {};
}

std::vector<MappedFiles::InMemory> MappedFiles::without_overlaps(std::vector<InMemory> parts) {
  // What is mapped shared is the file; private pages may have been changed.
  std::ranges::stable_partition(parts, &InMemory::shared);
  std::vector<InMemory> pieces;
  std::vector<Range> covered;
  for (const InMemory& part : parts) {
    const Range offsets{part.offset, part.offset + part.addresses.size()};
    for (const Range& left : mem::subtract({&offsets, 1}, covered)) {
      uint64_t address = part.addresses.start + (left.start - part.offset);
      InMemory piece = part;
      piece.addresses = {address, address + left.size()};
      piece.offset = left.start;
      pieces.push_back(piece);
      covered.push_back(left);
    }
    std::ranges::sort(covered, {}, &Range::start);
  }
  std::ranges::sort(pieces, {}, &InMemory::offset);
  return pieces;
}

Result<> MappedFiles::settle_from_memory(Entry& entry, image::Sink& sink) {
  image::MappedFileRecord& record = entry.record;
  entry.settled = true;
  record.content_space = kMappedFileSpace | record.id;
  Hasher hasher;
  for (const InMemory& piece : without_overlaps(entry.in_memory)) {
    sys::UniqueFd memory = TRY(sys::open_proc(piece.pid, "mem", O_RDONLY));
    for (uint64_t done = 0; done < piece.addresses.size();) {
      std::unique_ptr<image::PageBuffer> buffer = TRY(sink.page_buffer());
      uint64_t wanted = std::min<uint64_t>(image::kPageBufferSize, piece.addresses.size() - done);
      uint64_t size = read_block(memory.get(), piece.addresses.start + done, {buffer->data(), wanted});
      if (size == 0) break;
      uint64_t offset = piece.offset + done;
      hasher.update({buffer->data(), size});
      TRY(sink.put_pages({{.space = record.content_space, .offset = offset, .size = size}}, std::move(buffer)));
      record.size = std::max(record.size, offset + size);
      done += wanted;
    }
  }
  record.content = hasher.digest();
  return {};
}

Result<> MappedFiles::save(image::Sink& sink) {
  for (Entry& entry : entries_) {
    if (!entry.noted) continue;
    TRY(save(entry, sink).in(entry.record.path));
    TRY(sink.put({.type = image::RecordType::kMappedFile, .payload = image::encode(entry.record)}));
  }
  return {};
}

Result<> MappedFiles::save(Entry& entry, image::Sink& sink) {
  image::MappedFileRecord& record = entry.record;
  if (entry.settled) return {};
  if (record.device_node) {
    record.must_match = false;
    return {};
  }
  // What the job itself can change is a file state: its content then was read in the stop.
  record.file_state = states_.changing_file(record.device, record.inode);
  record.must_match = record.file_state == 0;
  if (!record.must_match) return {};
  if (!entry.known) {
    entry.known = TRY(know_file(entry.fd.get(), cache_));
    struct stat after = TRY(sys::fstat(entry.fd.get()));
    if (record.mtime_ns != sys::mtime_ns(after) || record.size != static_cast<uint64_t>(after.st_size))
      return not_now("it is mapped, and was changed while the checkpoint was written; try again");
  }
  record.build_id = entry.known->build_id;
  record.content = entry.known->content;
  if (!bundle_ && !record.unlinked) return {};
  record.content_space = kMappedFileSpace | record.id;
  sys::UniqueFd file = TRY(sys::reopen(entry.fd.get(), O_RDONLY));
  Hash128 saved = TRY(save_content(file.get(), record.size, record.content_space, sink));
  if (saved != record.content) return not_now("it was changed while the checkpoint was written; try again");
  return {};
}

}  // namespace stint::files
