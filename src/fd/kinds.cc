// The table of kinds. The order matters where two would recognise the same descriptor: what comes from outside first,
// the special before the general.
#include "fd/kinds.h"

#include <fmt/format.h>

#include <array>

namespace stint::fd {
namespace {

constexpr std::array kKinds = {
    &kTerminal, &kStandardStream, &kMemfd,      &kKernelFile, &kRegularFile, &kDirectory, &kCharDevice,
    &kFifo,     &kPipe,           &kUnixSocket, &kEventfd,    &kTimerfd,     &kSignalfd,  &kEpoll,
};

}  // namespace

std::span<const Kind* const> kinds() { return kKinds; }

const Kind* kind_of(image::RecordType type) {
  for (const Kind* kind : kKinds)
    if (kind->type == type) return kind;
  return nullptr;
}

Error refusal(const Facts& facts, std::string_view why, std::string_view remedy) {
  return refused(fmt::format("pid {}: fd {} ({}): {}; {}", facts.pid.number, facts.fd.number, facts.link, why, remedy));
}

}  // namespace stint::fd
