#include "mem/shared_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "image/ipc_records.h"
#include "mem/copy.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/inode.h"
#include "sys/ptrace.h"
#include "tracee/table.h"

namespace stint::mem {
namespace {

constexpr std::string_view kMemfdPrefix = "/memfd:";

Result<sys::UniqueFd> duplicate(int fd) {
  return sys::UniqueFd(TRY(sys::call("fcntl F_DUPFD_CLOEXEC", [&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); })));
}

}  // namespace

Result<uint64_t> SharedMemory::note_descriptor(int fd, const struct stat& stat, std::string_view name) {
  Object& object = objects_[stat.st_ino];
  object.record.id = stat.st_ino;
  object.record.memfd = true;
  if (name.starts_with(kMemfdPrefix)) name.remove_prefix(kMemfdPrefix.size());
  object.record.name = name;
  object.record.size = stat.st_size;
  if (!object.fd.valid()) object.fd = TRY(duplicate(fd));
  return object.record.id;
}

Result<uint64_t> SharedMemory::note_mapping(const proc::VmaUsage& usage, tracee::StoppedProcess& process,
                                            tracee::Hands& hands) {
  const proc::Vma& vma = usage.vma;
  bool memfd = vma.path.starts_with(kMemfdPrefix);
  if (!memfd && vma.path != "/dev/zero" && vma.name != proc::VmaName::kShmemNamed) {
    if (segments_.contains(vma.inode))
      return image::kSysvSegment | vma.inode | (usage.flags.has("mw") ? 0 : image::kSysvReadOnly);
    return refused(
        fmt::format("System V segment {} is shared with the whole system, not with the job alone; run the program "
                    "under `stint run` without --plain",
                    vma.inode));
  }
  Object& object = objects_[vma.inode];
  object.record.id = vma.inode;
  if (memfd) {
    object.record.memfd = true;
    object.record.name = vma.path.substr(kMemfdPrefix.size());
  }
  object.record.size = std::max(object.record.size, vma.offset + vma.range.size());
  object.mappings.push_back({usage, &process, &hands});
  return object.record.id;
}

Result<> SharedMemory::save(image::Sink& sink) {
  for (auto& [id, object] : objects_) {
    if (object.fd.valid())
      TRY(save_memfd(object, sink).in(fmt::format("memfd {}", object.record.name)));
    else
      TRY(save_mapped(object, sink).in("shared memory"));
    TRY(sink.put({image::RecordType::kSharedMemory, 1, true, image::encode(object.record)}));
  }
  return {};
}

Result<> SharedMemory::save_memfd(Object& object, image::Sink& sink) {
  constexpr int kGetSeals = 1034;  // F_GET_SEALS
  // A description of our own: seeking must not move the program's.
  sys::UniqueFd own = TRY(sys::reopen(object.fd.get(), O_RDONLY));
  int fd = own.get();
  struct stat now = TRY(sys::fstat(fd));
  object.record.size = now.st_size;
  Result<long> seals = sys::call("F_GET_SEALS", [&] { return ::fcntl(fd, kGetSeals); });
  if (seals.has_value()) object.record.seals = static_cast<uint32_t>(*seals);
  uint64_t space = image::kObjectSpace | object.record.id;
  for (uint64_t at = 0; at < object.record.size;) {
    off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0) break;  // Only holes from here on.
    std::unique_ptr<image::PageBuffer> buffer = TRY(sink.page_buffer());
    uint64_t start = static_cast<uint64_t>(data);
    uint64_t hole = static_cast<uint64_t>(::lseek(fd, data, SEEK_HOLE));
    uint64_t size = std::min<uint64_t>({hole - start, image::kPageBufferSize, object.record.size - start});
    TRY(sys::pread_all(fd, {buffer->data(), size}, start));
    TRY(sink.put_pages({{space, start, size}}, std::move(buffer)));
    bytes_saved_ += size;
    at = start + size;
  }
  return {};
}

namespace {

// Which pages of [address, address + size) exist, one byte each.
Result<std::vector<unsigned char>> pages_that_exist(tracee::StoppedProcess& process, tracee::Hands& hands,
                                                    const proc::VmaUsage& usage, uint64_t address, uint64_t pages) {
  std::vector<unsigned char> exists(pages, 1);
  if (usage.swap > 0) return exists;
  tracee::Table table(hands);
  uint64_t at = table.room(pages);
  table.must("mincore", SYS_mincore, {address, pages * kPageSize, at});
  TRY(table.run(process.representative(), process.seen_as()));
  for (uint64_t page = 0; page < pages; ++page) exists[page] = table.value<unsigned char>(at + page) & 1;
  return exists;
}

}  // namespace

namespace {

uint64_t end_in_object(const proc::Vma& vma) { return vma.offset + vma.range.size(); }

}  // namespace

// A mapping can be longer than what it maps: behind the end nobody can read, and to touch it is SIGBUS. (A page that is
// not there yet comes to be by being looked at: the last one, and few others where that is behind the end.)
Result<> SharedMemory::find_end(Object& object) {
  const Mapping& longest =
      *std::ranges::max_element(object.mappings, {}, [](const Mapping& one) { return end_in_object(one.usage.vma); });
  const proc::Vma& vma = longest.usage.vma;
  sys::UniqueFd memory = TRY(sys::open_memory(longest.process->seen_as()));
  auto is_there = [&](uint64_t offset) {
    std::byte looked_at;
    return sys::read_memory_file(memory.get(), vma.range.start + (offset - vma.offset), &looked_at, 1).has_value();
  };
  uint64_t low = vma.offset, high = end_in_object(vma);
  if (is_there(high - kPageSize)) return {};
  while (low < high) {
    uint64_t middle = page_down(low + (high - low) / 2);
    if (is_there(middle))
      low = middle + kPageSize;
    else
      high = middle;
  }
  if (low == vma.offset)
    return refused(fmt::format("mapping {:#x}-{:#x} lies behind the end of what it maps: unmap it", vma.range.start,
                               vma.range.end));
  object.record.size = low;
  return {};
}

// Each page through the first mapping that reaches it, in whichever process.
Result<> SharedMemory::save_mapped(Object& object, image::Sink& sink) {
  TRY(find_end(object));
  std::ranges::sort(object.mappings, {}, [](const Mapping& mapping) { return mapping.usage.vma.offset; });
  uint64_t done = 0;  // all before this offset was looked at
  for (const Mapping& mapping : object.mappings) {
    const proc::Vma& vma = mapping.usage.vma;
    uint64_t end = std::min(end_in_object(vma), object.record.size);
    if (end <= std::max(done, vma.offset)) continue;
    TRY(save_part(mapping, {std::max(done, vma.offset), end}, sink));
    done = end;
  }
  return {};
}

Result<> SharedMemory::save_part(const Mapping& mapping, Range part, image::Sink& sink) {
  constexpr uint64_t kPagesAtOnce = tracee::Hands::kScratchSize / 2;
  const proc::Vma& vma = mapping.usage.vma;
  Copier copier(mapping.process->seen_as(), image::kObjectSpace | vma.inode, sink);
  for (uint64_t at = part.start; at < part.end;) {
    uint64_t address = vma.range.start + (at - vma.offset);
    uint64_t pages = std::min(kPagesAtOnce, (part.end - at) / kPageSize);
    std::vector<unsigned char> exists =
        TRY(pages_that_exist(*mapping.process, *mapping.hands, mapping.usage, address, pages));
    for (uint64_t page = 0; page < pages; ++page)
      if (exists[page]) TRY(copier.add(address + page * kPageSize, at + page * kPageSize, kPageSize, !vma.read));
    at += pages * kPageSize;
  }
  TRY(copier.finish());
  bytes_saved_ += copier.bytes();
  return {};
}

}  // namespace stint::mem
