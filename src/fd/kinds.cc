// The table of kinds. The order matters where two would recognise the same descriptor: what comes from outside first,
// the special before the general.
#include "fd/kinds.h"

#include <fmt/format.h>

#include <array>

namespace stint::fd {
namespace {

constexpr std::array kKinds = {
    &kPathOnly,  &kTerminal,   &kStandardStream, &kPtyMaster, &kPtySlave,   &kMemfd,  &kKernelFile, &kRegularFile,
    &kDirectory, &kCharDevice, &kFifo,           &kPipe,      &kUnixSocket, &kTcp,    &kUdp,        &kNetlink,
    &kEventfd,   &kTimerfd,    &kSignalfd,       &kEpoll,     &kInotify,    &kMqueue, &kPidfd,
};

}  // namespace

std::span<const Kind* const> kinds() { return kKinds; }

const Kind* kind_of(image::RecordType type) {
  for (const Kind* kind : kKinds)
    if (kind->type == type) return kind;
  return nullptr;
}

int number_in_job(const Facts& facts, const CaptureContext& context, int number) {
  if (number == facts.pid.number) return facts.job_pid.number;
  int known = context.job_number ? context.job_number(number) : 0;
  if (known != 0) return known;
  // A job in our own pid namespace: its processes that have ended, too, had the numbers that we see.
  return facts.pid.number == facts.job_pid.number ? number : 0;
}

Error refusal(const Facts& facts, std::string_view why, std::string_view remedy) {
  if (!facts.waits_in.empty())
    return refused(fmt::format("pid {}: {}: a message that waits in it carries a descriptor ({}): {}; {}",
                               facts.pid.number, facts.waits_in, facts.link, why, remedy));
  return refused(fmt::format("pid {}: fd {} ({}): {}; {}", facts.pid.number, facts.fd.number, facts.link, why, remedy));
}

Error passing_refusal(const Facts& facts, std::string_view why, std::string_view remedy) {
  return refusal(facts, why, remedy).as(ErrorKind::kNotNow);
}

Result<> cut_off(const Facts& facts, CaptureContext& context, std::string_view why, std::string_view remedy) {
  if (!context.close_external)
    return refusal(facts, why,
                   fmt::format("{}, or give the checkpoint --external=close: after a restart it is then as if the "
                               "other end had gone",
                               remedy));
  context.cut_off[context.description_of.at({facts.pid.number, facts.fd.number})] = why;
  return {};
}

}  // namespace stint::fd
