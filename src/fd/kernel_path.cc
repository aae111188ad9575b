#include "fd/kernel_path.h"

#include <fmt/format.h>

#include <charconv>

#include "sys/file.h"
#include "sys/procfs.h"

namespace stint::fd {
namespace {

constexpr std::string_view kProc = "/proc/";

// The number in /proc/NUMBER/REST; 0 where the path is none of these.
struct OfProcess {
  int number = 0;
  std::string_view rest;
};

OfProcess parse(std::string_view path) {
  OfProcess found;
  if (!path.starts_with(kProc)) return found;
  const char *start = path.data() + kProc.size(), *end = path.data() + path.size();
  std::from_chars_result parsed = std::from_chars(start, end, found.number);
  if (parsed.ec != std::errc()) return {};
  found.rest = std::string_view(parsed.ptr, end);
  return found;
}

// The job's number of the process that this /proc shows under `number`; 0 when it is none of the job's, or is gone.
int shown_process(const Facts& facts, const CaptureContext& context, int number) {
  Result<struct stat> ours = sys::stat("/proc");
  if (ours.has_value() && ours->st_dev == facts.stat.st_dev) {
    if (number == facts.pid.number) return facts.job_pid.number;
    return context.job_number ? context.job_number(number) : 0;
  }
  // The job's own, in its pid namespace.
  if (number == facts.job_pid.number) return number;
  return sys::stat(sys::proc_path(facts.seen_as, fmt::format("root/proc/{}", number))).has_value() ? number : 0;
}

}  // namespace

Result<std::string> find_kernel_path(const Facts& facts, const CaptureContext& context) {
  OfProcess shown = parse(facts.link);
  if (shown.number == 0) return facts.link;  // of the whole system: /proc/meminfo
  int number = shown_process(facts, context, shown.number);
  if (number == 0)
    return passing_refusal(facts, fmt::format("shows process {}, which is gone or not in the job", shown.number),
                           "close it, or try again when it is closed");
  if (shown.rest.starts_with("/task/"))
    return passing_refusal(facts, "shows a single thread, and is made before they are",
                           "close it, or try again when it is closed");
  return fmt::format("{}{}{}", kProc, number, shown.rest);
}

bool shows_another_process(const std::string& path, JobPid maker) {
  OfProcess shown = parse(path);
  return shown.number != 0 && shown.number != maker.number;
}

Result<sys::UniqueFd> open_kernel_path(const std::string& path, int flags, JobPid maker) {
  OfProcess shown = parse(path);
  bool own = shown.number != 0 && shown.number == maker.number;
  return sys::open(own ? fmt::format("{}self{}", kProc, shown.rest) : path, flags).as(ErrorKind::kUnfit);
}

}  // namespace stint::fd
