#include "mem/shared_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "mem/copy.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/inode.h"
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

Result<uint64_t> SharedMemory::note_mapping(const proc::VmaUsage& usage) {
  const proc::Vma& vma = usage.vma;
  bool memfd = vma.path.starts_with(kMemfdPrefix);
  if (!memfd && vma.path != "/dev/zero" && vma.name != proc::VmaName::kShmemNamed)
    return refused(fmt::format("mapping {:#x}-{:#x}: System V shared memory is not supported", vma.range.start,
                               vma.range.end));
  Object& object = objects_[vma.inode];
  object.record.id = vma.inode;
  if (memfd) {
    object.record.memfd = true;
    object.record.name = vma.path.substr(kMemfdPrefix.size());
  }
  object.record.size = std::max(object.record.size, vma.offset + vma.range.size());
  object.mappings.push_back(usage);
  return object.record.id;
}

Result<> SharedMemory::save(tracee::StoppedProcess& process, tracee::Hands& hands, image::Sink& sink) {
  for (auto& [id, object] : objects_) {
    if (object.fd.valid()) TRY(save_memfd(object, sink).in(fmt::format("memfd {}", object.record.name)));
    else TRY(save_mapped(object, process, hands, sink).in("shared memory"));
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
  TRY(table.run(process.leader(), process.pid()));
  for (uint64_t page = 0; page < pages; ++page) exists[page] = table.value<unsigned char>(at + page) & 1;
  return exists;
}

}  // namespace

Result<> SharedMemory::save_mapped(Object& object, tracee::StoppedProcess& process, tracee::Hands& hands,
                                   image::Sink& sink) {
  constexpr uint64_t kPagesAtOnce = tracee::Hands::kScratchSize / 2;
  std::ranges::sort(object.mappings, {}, [](const proc::VmaUsage& usage) { return usage.vma.offset; });
  Copier copier(process.pid(), image::kObjectSpace | object.record.id, sink);
  uint64_t done = 0;  // all before this offset was looked at
  for (const proc::VmaUsage& usage : object.mappings) {
    uint64_t end = usage.vma.offset + usage.vma.range.size();
    for (uint64_t at = std::max(done, usage.vma.offset); at < end;) {
      uint64_t address = usage.vma.range.start + (at - usage.vma.offset);
      uint64_t pages = std::min(kPagesAtOnce, (end - at) / kPageSize);
      std::vector<unsigned char> exists = TRY(pages_that_exist(process, hands, usage, address, pages));
      for (uint64_t page = 0; page < pages; ++page)
        if (exists[page]) TRY(copier.add(address + page * kPageSize, at + page * kPageSize, kPageSize, !usage.vma.read));
      at += pages * kPageSize;
    }
    done = std::max(done, end);
  }
  TRY(copier.finish());
  bytes_saved_ += copier.bytes();
  return {};
}

}  // namespace stint::mem
