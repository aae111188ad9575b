#include "mem/aio_ring.h"

#include <gtest/gtest.h>

#include <cstring>

namespace stint::mem {
namespace {

Bytes ring_content(uint64_t size, uint32_t head, uint32_t tail) {
  Bytes content(size);
  AioRingHeader header{};
  header.nr = static_cast<uint32_t>((size - sizeof(header)) / sizeof(io_event));
  header.head = head, header.tail = tail;
  header.magic = kAioRingMagic, header.header_length = sizeof(header);
  std::memcpy(content.data(), &header, sizeof(header));
  for (uint32_t i = 0; i < header.nr; ++i) put_aio_event(content, i, {.data = i, .obj = 0, .res = 0, .res2 = 0});
  return content;
}

std::vector<uint64_t> waiting_in(ByteView content) {
  std::vector<uint64_t> data;
  AioRing ring = read_aio_ring(content).value();
  for (const io_event& event : ring.waiting) data.push_back(event.data);
  return data;
}

using Numbers = std::vector<uint64_t>;

TEST(AioRing, TellsWhatWaitsFromHeadToTail) {
  EXPECT_EQ(read_aio_ring(ring_content(4096, 0, 0)).value().slots, 127u);
  EXPECT_EQ(waiting_in(ring_content(4096, 3, 3)), Numbers{});
  EXPECT_EQ(waiting_in(ring_content(4096, 3, 5)), (Numbers{3, 4}));
  EXPECT_EQ(waiting_in(ring_content(4096, 125, 1)), (Numbers{125, 126, 0}));
}

// The program can write to it. The kernel takes the remainder, too.
TEST(AioRing, DoesNotBelieveAHeadBeyondItsEnd) {
  EXPECT_EQ(waiting_in(ring_content(4096, 127 + 3, 127 * 8 + 5)), (Numbers{3, 4}));
}

TEST(AioRing, IsNoneWithoutItsMagicOrInPart) {
  Bytes content = ring_content(8192, 0, 0);
  content.resize(4096);
  EXPECT_FALSE(read_aio_ring(content).has_value());
  content = ring_content(4096, 0, 0);
  content[16] = std::byte{0};
  EXPECT_FALSE(read_aio_ring(content).has_value());
  EXPECT_FALSE(read_aio_ring(Bytes(16)).has_value());
}

TEST(AioRing, DistancesGoAroundItsEnd) {
  AioRing ring;
  ring.slots = 127;
  EXPECT_EQ(ring.after(120, 10), 3u);
  EXPECT_EQ(ring.after(5, 3 * 127), 5u);
  EXPECT_EQ(ring.distance(120, 3), 10u);
  EXPECT_EQ(ring.distance(3, 3), 0u);
}

// What the kernel makes of a request for so many (fs/aio.c: ioctx_alloc, aio_setup_ring).
uint64_t size_made_for(uint64_t requests, uint64_t cpus) {
  uint64_t events = std::max(requests, 4 * cpus) * 2 + 2;
  return page_up(sizeof(AioRingHeader) + events * sizeof(io_event));
}

TEST(AioRing, IsAskedForWithTheFewestRequestsThatMakeItsSize) {
  for (uint64_t pages = 2; pages < 100; ++pages) {
    uint64_t requests = aio_requests_for(pages * kPageSize);
    EXPECT_EQ(size_made_for(requests, 1), pages * kPageSize);
    EXPECT_LT(size_made_for(requests - 1, 1), pages * kPageSize);
  }
  EXPECT_EQ(aio_requests_for(kPageSize), 1u);
  EXPECT_EQ(size_made_for(1, 2), kPageSize);
}

TEST(AioRing, GivesOutWholeBatchesOnly) {
  EXPECT_EQ(aio_batch(127, 2), 15u);
  EXPECT_EQ(aio_most_requests(127, 2), 120u);
  EXPECT_EQ(aio_most_requests(127, 64), 126u);
  EXPECT_EQ(aio_batch(127, 1000), 1u);
}

}  // namespace
}  // namespace stint::mem
