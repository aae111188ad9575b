#include "sys/procfs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "sys/call.h"

namespace stint::sys {
namespace {

constexpr size_t kAtOnce = 65536;

Result<std::string> read_to_end(int fd, size_t limit, size_t at_once = kAtOnce) {
  std::string text;
  size_t length = 0;
  while (true) {
    // seq_file hands out at most a page a time for most files; a full buffer means more may follow.
    if (text.size() - length < 16384) text.resize(text.size() + kAtOnce);
    size_t wanted = std::min(text.size() - length, at_once);
    long got = TRY(call("read", [&] { return ::read(fd, text.data() + length, wanted); }));
    length += static_cast<size_t>(got);
    if (length > limit) return failed(fmt::format("longer than {} bytes", limit));
    if (got == 0) break;
  }
  text.resize(length);
  return text;
}

Result<UniqueFd> open_path(const std::string& path, int flags) {
  return UniqueFd(static_cast<int>(TRY(call("open", [&] { return ::open(path.c_str(), flags | O_CLOEXEC); }))));
}

}  // namespace

std::string proc_path(Pid pid, std::string_view name) {
  if (pid.number == 0) return fmt::format("/proc/self/{}", name);
  return fmt::format("/proc/{}/{}", pid.number, name);
}

Result<std::string> read_whole(const std::string& path, size_t limit) {
  UniqueFd fd = TRY(open_path(path, O_RDONLY).in(path));
  return read_to_end(fd.get(), limit).in(path);
}

Result<std::string> read_proc(Pid pid, std::string_view name) { return read_whole(proc_path(pid, name)); }

Result<std::string> read_smaps(Pid pid) {
  constexpr size_t kLessThanOneMapping = 512;
  std::string path = proc_path(pid, "smaps");
  UniqueFd fd = TRY(open_path(path, O_RDONLY).in(path));
  return read_to_end(fd.get(), size_t{1} << 30, kLessThanOneMapping).in(path);
}

Result<UniqueFd> open_proc(Pid pid, std::string_view name, int flags) {
  std::string path = proc_path(pid, name);
  return open_path(path, flags).in(path);
}

}  // namespace stint::sys
