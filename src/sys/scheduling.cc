#include "sys/scheduling.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "sys/call.h"

namespace stint::sys {
namespace {

constexpr int kIoprioWhoProcess = 1;  // linux/ioprio.h

}  // namespace

Result<Bytes> get_sched_attr(Pid thread) {
  constexpr size_t kSchedAttrSize = 56;  // SCHED_ATTR_SIZE_VER1
  Bytes attr(kSchedAttrSize);
  TRY(call("sched_getattr", [&] { return syscall(SYS_sched_getattr, thread.number, attr.data(), attr.size(), 0); }));
  return attr;
}

Result<> set_sched_attr(Pid thread, ByteView attr) {
  TRY(call("sched_setattr", [&] { return syscall(SYS_sched_setattr, thread.number, attr.data(), 0); }));
  return {};
}

Result<Bytes> get_affinity(Pid thread) {
  Bytes mask(1024);
  long size = TRY(call("sched_getaffinity",
                       [&] { return syscall(SYS_sched_getaffinity, thread.number, mask.size(), mask.data()); }));
  mask.resize(size);
  return mask;
}

Result<> set_affinity(Pid thread, ByteView mask) {
  TRY(call("sched_setaffinity",
           [&] { return syscall(SYS_sched_setaffinity, thread.number, mask.size(), mask.data()); }));
  return {};
}

Result<uint32_t> get_io_priority(Pid thread) {
  long priority = TRY(call("ioprio_get", [&] { return syscall(SYS_ioprio_get, kIoprioWhoProcess, thread.number); }));
  return static_cast<uint32_t>(priority);
}

Result<> set_io_priority(Pid thread, uint32_t priority) {
  TRY(call("ioprio_set", [&] { return syscall(SYS_ioprio_set, kIoprioWhoProcess, thread.number, priority); }));
  return {};
}

}  // namespace stint::sys
