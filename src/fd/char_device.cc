// Character devices that remember nothing of who opened them: null, zero, full, random, urandom. Opened again by path.
#include <fmt/format.h>
#include <sys/sysmacros.h>

#include "fd/kinds.h"
#include "fd/path.h"
#include "sys/file.h"

namespace stint::fd {
namespace {

using image::CharDeviceRecord;

constexpr unsigned kMemoryDevices = 1;  // major number of them all
constexpr struct {
  unsigned minor;
  const char* path;
} kDevices[] = {{3, "/dev/null"}, {5, "/dev/zero"}, {7, "/dev/full"}, {8, "/dev/random"}, {9, "/dev/urandom"}};

const char* known_path(uint64_t device) {
  if (major(device) != kMemoryDevices) return nullptr;
  for (const auto& known : kDevices)
    if (known.minor == minor(device)) return known.path;
  return nullptr;
}

bool recognises(const Facts& facts, const CaptureContext&) {
  return S_ISCHR(facts.stat.st_mode) && known_path(facts.stat.st_rdev) != nullptr;
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  CharDeviceRecord record;
  record.description = description;
  record.path = known_path(facts.stat.st_rdev);
  record.device = facts.stat.st_rdev;
  return put_record(context.sink, kCharDevice.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext&) {
  CharDeviceRecord record = TRY(image::decode<CharDeviceRecord>(bytes));
  sys::UniqueFd device = TRY(sys::open(record.path, reopen_flags(record.description.flags)).as(ErrorKind::kUnfit));
  struct stat there = TRY(sys::fstat(device.get()));
  if (!S_ISCHR(there.st_mode) || there.st_rdev != record.device)
    return unfit(fmt::format("{} is not the character device {}:{} here", record.path, major(record.device),
                             minor(record.device)));
  return device;
}

}  // namespace

const Kind kCharDevice = {
    .name = "character device",
    .kept = "/dev/null, zero, full, random, urandom",
    .refused = "any other device",
    .type = image::RecordType::kCharDevice,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
