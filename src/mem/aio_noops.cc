#include "mem/aio_noops.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include <algorithm>

namespace stint::mem {
namespace {

constexpr uint64_t kSubmitAtOnce = 2048, kTakeAtOnce = 1024;
constexpr uint64_t kMaskSize = 1024;  // bytes: for 8192 processors
static_assert(kSubmitAtOnce * sizeof(uint64_t) + kTakeAtOnce * sizeof(io_event) + 8 * kMaskSize + 1024 <=
              tracee::Hands::kScratchSize);

}  // namespace

Result<AioNoops> AioNoops::prepare(tracee::StoppedProcess& process, tracee::Hands& hands, Target target,
                                   Bytes affinity) {
  // The requests must name it before it is open.
  RemoteFd descriptor = TRY(tracee::lowest_free_number(process.seen_as()));
  return AioNoops(process, hands, target, descriptor, std::move(affinity));
}

AioNoops::AioNoops(tracee::StoppedProcess& process, tracee::Hands& hands, Target target, RemoteFd descriptor,
                   Bytes affinity)
    : process_(process),
      hands_(hands),
      context_(target.context),
      descriptor_(descriptor),
      affinity_(std::move(affinity)),
      table_(hands) {
  // First of all, so that it has the same address in every table.
  iocb request{};
  request.aio_lio_opcode = IOCB_CMD_PREAD;
  request.aio_data = target.data;
  request.aio_fildes = static_cast<uint32_t>(descriptor.number);
  request.aio_buf = hands.scratch();
  request_ = table_.in(request);
  std::vector<uint64_t> pointers(kSubmitAtOnce, request_);
  pointers_ = table_.in(ByteView(reinterpret_cast<const std::byte*>(pointers.data()), pointers.size() * 8));
  events_ = table_.room(kTakeAtOnce * sizeof(io_event));
  // One for each bit of a byte, with that bit in the last byte: a mask that begins later is one of a lower processor.
  Bytes masks(8 * kMaskSize);
  for (size_t bit = 0; bit < 8; ++bit) masks[(bit + 1) * kMaskSize - 1] = static_cast<std::byte>(1 << bit);
  cpu_masks_ = table_.in(masks);
  table_.must("eventfd2 (its table of descriptors must have room for one)", SYS_eventfd2,
              {0, EFD_CLOEXEC | EFD_NONBLOCK});
}

void AioNoops::go_to(uint32_t cpu) {
  uint64_t size = cpu / 8 + 1;
  if (size > kMaskSize) return;
  table_.ask(SYS_sched_setaffinity, {0, size, cpu_masks_ + (cpu % 8 + 1) * kMaskSize - size});
  moved_ = true;
}

size_t AioNoops::submit(uint64_t count) {
  std::vector<size_t>& group = groups_.emplace_back();
  for (uint64_t left = count; left > 0;) {
    uint64_t some = std::min(left, kSubmitAtOnce);
    group.push_back(table_.ask(SYS_io_submit, {context_, some, pointers_}));
    left -= some;
  }
  return groups_.size() - 1;
}

void AioNoops::take_events(uint64_t count) {
  for (uint64_t left = count; left > 0;) {
    uint64_t some = std::min(left, kTakeAtOnce);
    table_.ask(SYS_io_getevents, {context_, 0, some, events_, 0});
    left -= some;
  }
}

Result<> AioNoops::run() {
  if (moved_) table_.ask(SYS_sched_setaffinity, {0, affinity_.size(), table_.in(affinity_)});
  table_.ask(SYS_close, {static_cast<uint64_t>(descriptor_.number)});
  TRY(table_.run(process_.representative(), process_.seen_as()));
  int64_t opened = table_.result(0);
  if (opened == descriptor_.number) return {};
  (void)hands_.call(process_.representative(), "close", {SYS_close, {static_cast<uint64_t>(opened)}});
  return failed("a descriptor in it has another number than the lowest that was free");
}

uint64_t AioNoops::submitted(size_t group) const {
  uint64_t count = 0;
  for (size_t call : groups_[group])
    if (table_.result(call) > 0) count += static_cast<uint64_t>(table_.result(call));
  return count;
}

uint64_t AioNoops::submitted() const {
  uint64_t count = 0;
  for (size_t group = 0; group < groups_.size(); ++group) count += submitted(group);
  return count;
}

}  // namespace stint::mem
