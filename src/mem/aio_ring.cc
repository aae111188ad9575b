#include "mem/aio_ring.h"

#include <algorithm>
#include <cstring>

namespace stint::mem {

bool is_aio_ring(const proc::Vma& vma) { return vma.shared && vma.deleted && vma.path == "/[aio]"; }

Result<AioRing> read_aio_ring(ByteView content) {
  AioRingHeader header;
  if (content.size() < kPageSize) return failed("its ring is too small");
  std::memcpy(&header, content.data(), sizeof(header));
  if (header.magic != kAioRingMagic || header.header_length != sizeof(header) || header.incompat_features != 0)
    return failed("its ring is none that is known");
  AioRing ring;
  ring.slots = static_cast<uint32_t>((content.size() - sizeof(header)) / sizeof(io_event));
  if (header.nr != ring.slots) return failed("only a part of its ring is mapped");
  ring.head = header.head % ring.slots, ring.tail = header.tail % ring.slots;
  for (uint32_t at = ring.head; at != ring.tail; at = ring.after(at, 1))
    ring.waiting.push_back(aio_event_at(content, at));
  return ring;
}

uint64_t aio_event_offset(uint32_t position) { return sizeof(AioRingHeader) + position * sizeof(io_event); }

io_event aio_event_at(ByteView content, uint32_t position) {
  io_event event;
  std::memcpy(&event, content.data() + aio_event_offset(position), sizeof(event));
  return event;
}

void put_aio_event(std::span<std::byte> content, uint32_t position, const io_event& event) {
  std::memcpy(content.data() + aio_event_offset(position), &event, sizeof(event));
}

// The kernel makes room for twice as many events, and two more, and then uses all of the last page.
uint64_t aio_requests_for(uint64_t ring_size) {
  constexpr uint64_t kPerPage = kPageSize / sizeof(io_event) / 2;
  uint64_t pages = ring_size / kPageSize;
  return pages <= 1 ? 1 : kPerPage * (pages - 1) - 1;
}

uint32_t aio_batch(uint32_t slots, size_t possible_cpus) {
  return std::max<uint32_t>(1, (slots - 1) / static_cast<uint32_t>(4 * possible_cpus));
}

uint32_t aio_most_requests(uint32_t slots, size_t possible_cpus) {
  uint32_t batch = aio_batch(slots, possible_cpus);
  return (slots - 1) / batch * batch;
}

}  // namespace stint::mem
