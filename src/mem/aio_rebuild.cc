#include "mem/aio_rebuild.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "mem/aio_noops.h"
#include "mem/aio_ring.h"
#include "sys/scheduling.h"
#include "tracee/memory.h"

namespace stint::mem {
namespace {

class Context {
 public:
  Context(tracee::StoppedProcess& process, tracee::Hands& hands, const image::AioRingRecord& record)
      : process_(process), hands_(hands), record_(record) {}

  Result<> rebuild() {
    Result<AioRing> saved = read_aio_ring(record_.content);
    if (!saved.has_value()) return std::move(saved).error().as(ErrorKind::kDamaged);
    TRY(make());
    // The kernel keeps the tail for itself: it goes on from where so many events have brought it.
    if (TRY(pass(saved->head, true)) != saved->head) return failed("its requests do not pass");
    if (TRY(pass(saved->waiting.size(), false)) != saved->waiting.size())
      return unfit(fmt::format("{} events wait in it, more than this host's kernel lets wait in such a one",
                               saved->waiting.size()));
    TRY(tracee::poke(process_.seen_as(), record_.start + aio_event_offset(0),
                     record_.content.data() + aio_event_offset(0), record_.content.size() - aio_event_offset(0)));
    AioRingHeader now = TRY(tracee::peek(process_.seen_as(), RemotePtr<AioRingHeader>(record_.start)));
    if (now.head != saved->head || now.tail != saved->tail) return failed("its events are not where they were");
    return {};
  }

 private:
  // The kernel chooses the place; mremap(2) changes the id with it.
  Result<> make() {
    uint64_t size = record_.content.size();
    tracee::Table table(hands_);
    uint64_t id = table.out<uint64_t>();
    table.must("io_setup (see fs.aio-max-nr)", SYS_io_setup, {aio_requests_for(size), id});
    TRY(table.run(process_.representative(), process_.seen_as()));
    uint64_t at = table.value<uint64_t>(id);
    AioRingHeader header = TRY(tracee::peek(process_.seen_as(), RemotePtr<AioRingHeader>(at)));
    if (sizeof(header) + header.nr * sizeof(io_event) != size)
      return unfit("this host's kernel makes larger contexts, because more processors are possible on it");
    tracee::Call move{SYS_mremap, {at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, record_.start}};
    TRY(hands_.call(process_.representative(), "mremap", move));
    return {};
  }

  // How many events have passed through the ring, or have come to wait in it. On one processor: each keeps some of the
  // context's requests to itself.
  Result<uint64_t> pass(uint64_t count, bool taken) {
    constexpr uint64_t kAtOnce = 64;  // A context of the smallest size has as many.
    Bytes affinity = TRY(sys::get_affinity(process_.representative().tid));
    uint32_t cpu = 0;
    while (cpu < 8 * affinity.size() && (static_cast<uint8_t>(affinity[cpu / 8]) >> cpu % 8 & 1) == 0) ++cpu;
    uint64_t passed = 0;
    while (passed < count) {
      AioNoops noops = TRY(AioNoops::prepare(process_, hands_, {record_.start}, affinity));
      noops.go_to(cpu);
      uint64_t in_table = 0;
      for (int i = 0; i < 100 && passed + in_table < count; ++i) {
        uint64_t some = std::min(kAtOnce, count - passed - in_table);
        noops.submit(some);
        if (taken) noops.take_events(some);
        in_table += some;
      }
      TRY(noops.run());
      passed += noops.submitted();
      if (noops.submitted() < in_table) break;
    }
    return passed;
  }

  tracee::StoppedProcess& process_;
  tracee::Hands& hands_;
  const image::AioRingRecord& record_;
};

}  // namespace

Result<> rebuild_aio_ring(tracee::StoppedProcess& process, tracee::Hands& hands, const image::AioRingRecord& ring) {
  auto rebuild = [&]() -> Result<> {
    if (ring.has_context) return Context(process, hands, ring).rebuild();
    return tracee::poke(process.seen_as(), ring.start, ring.content.data(), ring.content.size());
  };
  return rebuild().in(fmt::format("asynchronous I/O context {:#x}", ring.start));
}

}  // namespace stint::mem
