// Contexts of asynchronous I/O: the id is an address in the program's memory, and what is done and was not asked for
// yet waits in a ring that lies there.
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <cstring>
#include <vector>

#include "test/live/program/processes.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

// struct aio_ring of the kernel.
struct Ring {
  unsigned id, nr, head, tail, magic, compat_features, incompat_features, header_length;
  io_event events[];
};

class Context {
 public:
  explicit Context(unsigned requests) {
    if (syscall(SYS_io_setup, requests, &id_) == -1 && errno == ENOSYS) skip("this kernel has no asynchronous I/O");
    EXPECT_NE(id_, 0UL);
  }
  ~Context() {
    if (id_ != 0) syscall(SYS_io_destroy, id_);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  void submit(iocb& request) {
    iocb* one = &request;
    EXPECT_EQ(EXPECT_OK(syscall(SYS_io_submit, id_, 1, &one)), 1);
  }
  // Waits for `least`; the data of those that came.
  std::vector<uint64_t> take(long least, long most, const timespec* timeout = nullptr) {
    std::vector<io_event> events(static_cast<size_t>(most));
    const long got = EXPECT_OK(syscall(SYS_io_getevents, id_, least, most, events.data(), timeout));
    std::vector<uint64_t> data;
    for (long i = 0; i < got; ++i) data.push_back(events[static_cast<size_t>(i)].data);
    return data;
  }
  std::vector<uint64_t> take_what_is_there(long most) {
    const timespec none = {0, 0};
    return take(0, most, &none);
  }
  aio_context_t id() const { return id_; }
  volatile Ring& ring() const { return *reinterpret_cast<volatile Ring*>(id_); }

 private:
  aio_context_t id_ = 0;
};

iocb request_to(int operation, int fd, uint64_t data) {
  iocb request = {};
  request.aio_lio_opcode = static_cast<uint16_t>(operation);
  request.aio_fildes = static_cast<uint32_t>(fd);
  request.aio_data = data;
  return request;
}

iocb request_to_read(int fd, void* into, size_t size, uint64_t data) {
  iocb request = request_to(IOCB_CMD_PREAD, fd, data);
  request.aio_buf = reinterpret_cast<uint64_t>(into);
  request.aio_nbytes = size;
  return request;
}

// Is under way until the descriptor can be read.
iocb request_to_poll(int fd, uint64_t data) {
  iocb request = request_to(IOCB_CMD_POLL, fd, data);
  request.aio_buf = POLLIN;
  return request;
}

Fd file_of(const Scratch& scratch, std::string_view text) {
  Fd file = open_file(scratch.file("file"), O_RDWR | O_CREAT);
  write_all(file, text);
  return file;
}

std::vector<uint64_t> numbers(uint64_t first, uint64_t last) {
  std::vector<uint64_t> all;
  for (uint64_t i = first; i <= last; ++i) all.push_back(i);
  return all;
}

LIVE_TEST(aio_context_without_requests_keeps_its_id) {
  const Scratch scratch;
  const Fd file = file_of(scratch, "content");
  Context context(8);
  const unsigned slots = context.ring().nr;
  freeze_point();
  EXPECT_EQ(context.ring().nr, slots);
  EXPECT_TRUE(context.take_what_is_there(8).empty());
  char bytes[8] = {};
  iocb request = request_to_read(file, bytes, 7, 5);
  context.submit(request);
  EXPECT_TRUE(context.take(1, 8) == numbers(5, 5));
  EXPECT_EQ(std::string(bytes), "content");
}

LIVE_TEST(aio_events_that_wait_are_taken_once_and_whole) {
  const Scratch scratch;
  const Fd file = file_of(scratch, "content");
  Context context(8);
  char bytes[8] = {};
  iocb good = request_to_read(file, bytes, 4, 0x1234567890), bad = request_to_read(file, nullptr, 4, 2);
  context.submit(good);
  context.submit(bad);
  freeze_point();
  io_event events[3];
  EXPECT_EQ(syscall(SYS_io_getevents, context.id(), 2, 3, events, nullptr), 2);
  EXPECT_EQ(events[0].data, 0x1234567890UL);
  EXPECT_EQ(events[0].obj, reinterpret_cast<uint64_t>(&good));
  EXPECT_EQ(events[0].res, 4);
  EXPECT_EQ(events[1].data, 2UL);
  EXPECT_EQ(events[1].obj, reinterpret_cast<uint64_t>(&bad));
  EXPECT_EQ(events[1].res, -EFAULT);
  EXPECT_TRUE(context.take_what_is_there(3).empty());
}

// A program may take them from the ring itself, and hold its place in it.
LIVE_TEST(aio_ring_stays_where_its_events_were) {
  const Scratch scratch;
  const Fd file = file_of(scratch, "content");
  Context context(8);
  char bytes[8];
  volatile Ring& ring = context.ring();
  for (uint64_t i = 1; i <= ring.nr + 40; ++i) {
    iocb request = request_to_read(file, bytes, 1, i);
    context.submit(request);
    if (i <= ring.nr + 37) EXPECT_TRUE(context.take(1, 1) == numbers(i, i));
  }
  const unsigned head = ring.head, tail = ring.tail;
  EXPECT_EQ((tail + ring.nr - head) % ring.nr, 3U);
  freeze_point();
  EXPECT_EQ(ring.head, head);
  EXPECT_EQ(ring.tail, tail);
  EXPECT_EQ(ring.events[head].data, ring.nr + 38);
  ring.head = (head + 1) % ring.nr;
  freeze_point();
  EXPECT_TRUE(context.take(2, 8) == numbers(ring.nr + 39, ring.nr + 40));
}

// Nothing is lost of what it can hold, and nothing is gained.
LIVE_TEST(aio_context_can_be_filled_as_before) {
  const Scratch scratch;
  const Fd file = file_of(scratch, "content");
  Context context(8);
  char bytes[8];
  auto fill = [&](uint64_t from) {
    iocb request = request_to_read(file, bytes, 1, from);
    iocb* one = &request;
    while (syscall(SYS_io_submit, context.id(), 1, &one) == 1) ++request.aio_data;
    EXPECT_EQ(errno, EAGAIN);
    return request.aio_data - from;
  };
  for (int round = 0; round < 2; ++round) {
    const uint64_t held = fill(0);
    EXPECT_GE(held, 8UL);
    freeze_point();
    EXPECT_TRUE(context.take(static_cast<long>(held), context.ring().nr) == numbers(0, held - 1));
  }
  EXPECT_GE(fill(0), 8UL);
}

LIVE_TEST(several_aio_contexts_keep_their_events_apart) {
  const Scratch scratch;
  const Fd file = file_of(scratch, "content");
  Context small(1), middle(200), large(3000);
  char bytes[8];
  const std::vector<Context*> all = {&small, &middle, &large};
  for (uint64_t i = 0; i < 5; ++i)
    for (size_t which = 0; which < all.size(); ++which) {
      iocb request = request_to_read(file, bytes, 1, 10 * which + i);
      all[which]->submit(request);
    }
  EXPECT_TRUE(middle.take(3, 3) == numbers(10, 12));
  freeze_point();
  EXPECT_TRUE(small.take(1, 9) == numbers(0, 4));
  EXPECT_TRUE(middle.take(1, 9) == numbers(13, 14));
  EXPECT_TRUE(large.take(1, 9) == numbers(20, 24));
}

LIVE_TEST(aio_context_that_was_moved_keeps_its_id) {
  const Scratch scratch;
  const Fd file = file_of(scratch, "content");
  Context context(8);
  char bytes[8];
  void* place = mmap(nullptr, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(place, MAP_FAILED);
  void* moved = mremap(reinterpret_cast<void*>(context.id()), 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, place);
  EXPECT_EQ(moved, place);
  const aio_context_t id = reinterpret_cast<aio_context_t>(moved);
  iocb request = request_to_read(file, bytes, 1, 7);
  iocb* one = &request;
  EXPECT_EQ(syscall(SYS_io_submit, id, 1, &one), 1);
  freeze_point();
  io_event event = {};
  EXPECT_EQ(syscall(SYS_io_getevents, id, 1, 1, &event, nullptr), 1);
  EXPECT_EQ(event.data, 7UL);
  EXPECT_OK(syscall(SYS_io_destroy, id));
  EXPECT_OK(munmap(place, 1 << 20));
}

// The end of a wait is an event by another thread: of a request that was not yet made when the job was cut.
void freeze_in_getevents(const timespec* timeout) {
  const Scratch scratch;
  const Fd file = file_of(scratch, "content");
  Context context(8);
  std::vector<uint64_t> data;
  BlockedThread waiter(SYS_io_getevents, [&] { data = context.take(2, 8, timeout); });
  freeze_point();
  wait_until_blocked(waiter.tid());
  EXPECT_FALSE(waiter.ended());
  char bytes[8];
  for (uint64_t i = 1; i <= 2; ++i) {
    iocb request = request_to_read(file, bytes, 1, i);
    context.submit(request);
  }
  waiter.join();
  EXPECT_TRUE(data == numbers(1, 2));
}

LIVE_TEST(io_getevents_goes_on) { freeze_in_getevents(nullptr); }
LIVE_TEST(io_getevents_with_timeout_goes_on) {
  const timespec minute = {60, 0};
  freeze_in_getevents(&minute);
}

// Three events, one of which is there at once; another comes between two cuts, and the last after them.
void freeze_with_some_taken(const timespec* timeout) {
  const Scratch scratch;
  const Fd file = file_of(scratch, "content");
  Context context(8);
  char bytes[8];
  auto submit = [&](uint64_t data) {
    iocb request = request_to_read(file, bytes, 1, data);
    context.submit(request);
  };
  submit(1);
  std::vector<uint64_t> data;
  BlockedThread waiter(SYS_io_getevents, [&] { data = context.take(3, 8, timeout); });
  freeze_point();
  wait_until_blocked(waiter.tid());
  submit(2);
  freeze_point();
  wait_until_blocked(waiter.tid());
  EXPECT_FALSE(waiter.ended());
  submit(3);
  waiter.join();
  EXPECT_TRUE(data == numbers(1, 3));
}

LIVE_TEST(io_getevents_that_has_taken_some_waits_for_the_others) { freeze_with_some_taken(nullptr); }
LIVE_TEST(io_getevents_that_has_taken_some_and_has_a_timeout_waits_for_the_others) {
  const timespec minute = {60, 0};
  freeze_with_some_taken(&minute);
}

LIVE_TEST(io_getevents_ends_with_its_timeout) {
  Context context(8);
  constexpr double kSeconds = 2;
  const timespec time = to_timespec(kSeconds);
  const double start = monotonic_seconds();
  std::vector<uint64_t> data = {1};
  BlockedThread waiter(SYS_io_getevents, [&] { data = context.take(1, 8, &time); });
  freeze_point();
  waiter.join();
  EXPECT_GE(monotonic_seconds() - start, kSeconds);
  EXPECT_TRUE(data.empty());
}

// They may be under way when the job is stopped; then they are done, and their bytes and events are there.
LIVE_TEST(direct_aio_reads_are_whole) {
  constexpr size_t kBlock = 4096, kBlocks = 32;
  const Scratch scratch;
  {
    const Fd file = open_file(scratch.file("file"), O_WRONLY | O_CREAT);
    for (size_t i = 0; i < kBlocks; ++i) write_all(file, std::string(kBlock, static_cast<char>('A' + i)));
  }
  int fd = open(scratch.file("file").c_str(), O_RDONLY | O_DIRECT);
  if (fd < 0) skip("this file system has no O_DIRECT");
  const Fd file(fd);
  void* memory = mmap(nullptr, kBlock * kBlocks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(memory, MAP_FAILED);
  char* bytes = static_cast<char*>(memory);
  Context context(kBlocks);
  std::vector<iocb> requests;
  for (size_t i = 0; i < kBlocks; ++i) {
    iocb& request = requests.emplace_back(request_to_read(file, bytes + i * kBlock, kBlock, i));
    request.aio_offset = static_cast<int64_t>(i * kBlock);
  }
  std::vector<iocb*> pointers;
  for (iocb& request : requests) pointers.push_back(&request);
  for (int round = 0; round < 3; ++round) {
    memset(bytes, 0, kBlock * kBlocks);
    EXPECT_EQ(syscall(SYS_io_submit, context.id(), kBlocks, pointers.data()), static_cast<long>(kBlocks));
    freeze_point();
    EXPECT_EQ(context.take(kBlocks, kBlocks).size(), kBlocks);
    for (size_t i = 0; i < kBlocks; ++i)
      EXPECT_EQ(std::string(bytes + i * kBlock, kBlock), std::string(kBlock, static_cast<char>('A' + i)));
  }
  EXPECT_OK(munmap(memory, kBlock * kBlocks));
}

LIVE_TEST(aio_contexts_of_parent_and_child_are_their_own) {
  const Scratch scratch;
  const Fd file = file_of(scratch, "content");
  char bytes[8];
  Context parents(8);
  iocb request = request_to_read(file, bytes, 1, 1);
  parents.submit(request);
  Child child([&](Line& line) {
    // The mapping is inherited, the context is not.
    io_event event;
    EXPECT_EQ(parents.ring().tail, 1U);
    EXPECT_EQ(syscall(SYS_io_getevents, parents.id(), 0, 1, &event, nullptr), -1);
    EXPECT_EQ(errno, EINVAL);
    Context own(8);
    EXPECT_NE(own.id(), parents.id());
    iocb mine = request_to_read(file, bytes, 1, 2);
    own.submit(mine);
    line.stand_by();
    EXPECT_EQ(parents.ring().tail, 1U);
    EXPECT_EQ(syscall(SYS_io_getevents, parents.id(), 0, 1, &event, nullptr), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_TRUE(own.take(1, 8) == numbers(2, 2));
    return 0;
  });
  child.await();
  freeze_point();
  EXPECT_TRUE(parents.take(1, 8) == numbers(1, 1));
  child.finish();
}

LIVE_TEST_THAT_NEEDS(aio_request_that_does_not_end_is_refused, Needs::kRefusal) {
  Context context(8);
  const Fd event(EXPECT_OK(eventfd(0, 0)));
  const Scratch scratch;
  const Fd file = file_of(scratch, "content");
  char bytes[8];
  iocb done = request_to_read(file, bytes, 1, 1), poll = request_to_poll(event, 2);
  context.submit(done);
  context.submit(poll);
  const unsigned head = context.ring().head, tail = context.ring().tail;
  freeze_point();
  EXPECT_EQ(context.ring().head, head);
  EXPECT_EQ(context.ring().tail, tail);
  EXPECT_TRUE(context.take_what_is_there(8) == numbers(1, 1));
  const uint64_t one = 1;
  EXPECT_EQ(write(event, &one, sizeof one), static_cast<ssize_t>(sizeof one));
  EXPECT_TRUE(context.take(1, 8) == numbers(2, 2));
}

LIVE_TEST_THAT_NEEDS(aio_ring_that_is_mapped_in_part_is_refused, Needs::kRefusal) {
  Context context(1000);
  EXPECT_OK(munmap(reinterpret_cast<char*>(context.id()) + 4096, 4096));
  freeze_point();
  EXPECT_TRUE(context.take_what_is_there(8).empty());
}

}  // namespace
}  // namespace live
