// The ring of an asynchronous I/O context, as it lies in memory (kernel: fs/aio.c).
//
// io_setup(2) maps it, shared with the kernel, and its address is the context's id. The kernel appends the event of
// each completed request at the tail; io_getevents(2), or the program itself, takes them at the head. The header can be
// written by the program: what it says is held against the size of the mapping, which the kernel keeps to. mremap(2)
// moves a ring, and the context gets another id by that; a child of fork(2) inherits the mapping, but no context.
#pragma once

#include <linux/aio_abi.h>

#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "proc/maps.h"

namespace stint::mem {

struct AioRingHeader {
  uint32_t id;  // the kernel's own number of the context: it looks here
  uint32_t nr, head, tail, magic, compat_features, incompat_features, header_length;
};
static_assert(sizeof(AioRingHeader) == 32 && sizeof(io_event) == 32);

inline constexpr uint32_t kAioRingMagic = 0xa10a10a1;

bool is_aio_ring(const proc::Vma& vma);

// Positions in a ring count from 0 and wrap at `slots`; head == tail: no event waits.
struct AioRing {
  uint32_t slots = 0;
  uint32_t head = 0, tail = 0;
  std::vector<io_event> waiting;

  uint32_t after(uint32_t position, uint64_t by) const { return static_cast<uint32_t>((position + by) % slots); }
  // Events from `from` to `to`.
  uint32_t distance(uint32_t from, uint32_t to) const { return (to + slots - from) % slots; }
};

// `content`: the whole mapping. An Error says what about it is no ring.
Result<AioRing> read_aio_ring(ByteView content);

// Of a mapping's content. The position must be less than the slots.
io_event aio_event_at(ByteView content, uint32_t position);
void put_aio_event(std::span<std::byte> content, uint32_t position, const io_event& event);
uint64_t aio_event_offset(uint32_t position);

// For how many requests io_setup(2) is to be asked, so that the ring gets this size (a multiple of the page size): the
// fewest, because fs.aio-max-nr is for the whole system.
uint64_t aio_requests_for(uint64_t ring_size);

// The kernel hands a context's requests out to the processors in batches; what makes no whole batch is never given out.
uint32_t aio_batch(uint32_t slots, size_t possible_cpus);
// How many requests of a context can be under way or wait in its ring, at most.
uint32_t aio_most_requests(uint32_t slots, size_t possible_cpus);

}  // namespace stint::mem
