#include "files/mapped_files.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "files/content.h"
#include "sys/file.h"
#include "sys/inode.h"
#include "sys/memory.h"
#include "sys/procfs.h"

namespace stint::files {
namespace {

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

// One block of another process's memory. Pages that cannot be read (beyond the end of the file) are zero.
void read_block(int memory, uint64_t address, std::span<std::byte> to) {
  std::ranges::fill(to, std::byte{0});
  if (sys::pread_all(memory, to, address).has_value()) return;
  for (size_t at = 0; at < to.size(); at += kPageSize) {
    std::span<std::byte> page = to.subspan(at, std::min<size_t>(kPageSize, to.size() - at));
    if (!sys::pread_all(memory, page, address + at).has_value()) std::ranges::fill(page, std::byte{0});
  }
}

}  // namespace

Result<MappedFiles::Entry*> MappedFiles::find_or_open(Pid pid, const proc::Vma& vma) {
  std::map<Shown, size_t>::iterator found = by_file_.find(shown(vma));
  if (found != by_file_.end()) return &entries_[found->second];
  Entry entry;
  std::optional<sys::UniqueFd> file = open_if_same(vma.path, vma);
  if (!file.has_value()) file = open_nameless(pid, vma);
  entry.record.unlinked = !file.has_value() || vma.deleted;
  if (file.has_value()) {
    entry.fd = std::move(*file);
    entry.stat = TRY(sys::fstat(entry.fd.get()).in(vma.path));
    entry.record.device_node = S_ISCHR(entry.stat.st_mode);
    if (!S_ISREG(entry.stat.st_mode) && !entry.record.device_node)
      return refused(fmt::format("mapping of {}: it is neither a regular file nor a character device", vma.path));
  }
  entry.record.id = entries_.size() + 1;
  entry.record.path = vma.path;
  by_file_[shown(vma)] = entries_.size();
  return &entries_.emplace_back(std::move(entry));
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
    if (may_write)
      return refused(
          fmt::format("{:x}: shared mapping of {}, which has no name any more, and no descriptor of it is left: "
                      "its content cannot be had without CAP_CHECKPOINT_RESTORE",
                      vma.range.start, vma.path));
    entry.in_memory.push_back({.pid = pid, .addresses = vma.range, .offset = vma.offset});
  } else if (may_write && !entry.record.device_node) {
    entry.record.file_state =
        TRY(states_.note_shared_mapping(entry.fd.get(), entry.stat, vma.path, entry.record.unlinked).in(vma.path));
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
  record.unlinked = !named.has_value() || named->st_dev != entry.stat.st_dev || named->st_ino != entry.stat.st_ino;
  return {};
}

Result<> MappedFiles::settle_from_memory(Entry& entry, image::Sink& sink) {
  image::MappedFileRecord& record = entry.record;
  entry.settled = true;
  record.content_space = kMappedFileSpace | record.id;
  // By offset: where two mappings show the same page of the file, the first one is taken.
  std::ranges::sort(entry.in_memory, {}, &InMemory::offset);
  Hasher hasher;
  for (const InMemory& part : entry.in_memory) {
    sys::UniqueFd memory = TRY(sys::open_proc(part.pid, "mem", O_RDONLY));
    uint64_t end = part.offset + part.addresses.size();
    for (uint64_t offset = std::max(part.offset, record.size); offset < end;) {
      std::unique_ptr<image::PageBuffer> buffer = TRY(sink.page_buffer());
      uint64_t size = std::min<uint64_t>(image::kPageBufferSize, end - offset);
      read_block(memory.get(), part.addresses.start + (offset - part.offset), {buffer->data(), size});
      hasher.update({buffer->data(), size});
      TRY(sink.put_pages({{.space = record.content_space, .offset = offset, .size = size}}, std::move(buffer)));
      offset += size;
    }
    record.size = std::max(record.size, end);
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
  KnownFile known = TRY(know_file(entry.fd.get(), cache_));
  struct stat after = TRY(sys::fstat(entry.fd.get()));
  if (record.mtime_ns != sys::mtime_ns(after) || record.size != static_cast<uint64_t>(after.st_size))
    return refused("another program changes it while it is mapped here: what the mapping shows cannot be kept");
  record.build_id = known.build_id;
  record.content = known.content;
  if (!bundle_ && !record.unlinked) return {};
  record.content_space = kMappedFileSpace | record.id;
  sys::UniqueFd file = TRY(sys::reopen(entry.fd.get(), O_RDONLY));
  Hash128 saved = TRY(save_content(file.get(), record.size, record.content_space, sink));
  if (saved != record.content) return refused("it changes while it is being read");
  return {};
}

}  // namespace stint::files
