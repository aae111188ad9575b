#include "files/writers.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "proc/fdinfo.h"
#include "sys/file.h"
#include "sys/inode.h"
#include "sys/procfs.h"

namespace stint::files {
namespace {

bool is_number(const std::string& name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
}

// True if the process has the file open for writing. Processes come and go, and others' cannot be looked into: no
// answer is a no.
bool writes(Pid pid, const struct stat& file) {
  Result<std::vector<std::string>> numbers = sys::list_directory(sys::proc_path(pid, "fd"));
  if (!numbers.has_value()) return false;
  for (const std::string& number : *numbers) {
    Result<struct stat> there = sys::stat(sys::proc_path(pid, "fd/" + number));
    if (!there.has_value() || there->st_ino != file.st_ino || there->st_dev != file.st_dev) continue;
    Result<std::string> text = sys::read_proc(pid, "fdinfo/" + number);
    if (!text.has_value()) continue;
    Result<proc::FdInfo> fdinfo = proc::parse_fdinfo(*text);
    if (fdinfo.has_value() && (fdinfo->flags & O_ACCMODE) != O_RDONLY && (fdinfo->flags & O_PATH) == 0) return true;
  }
  return false;
}

std::string name_of(Pid pid) {
  Result<std::string> comm = sys::read_proc(pid, "comm");
  if (!comm.has_value()) return fmt::format("process {}", pid.number);
  return fmt::format("process {} ({})", pid.number, comm->substr(0, comm->find('\n')));
}

}  // namespace

Result<std::optional<std::string>> find_writer(int fd) {
  struct stat file = TRY(sys::fstat(fd));
  Result<sys::UniqueFd> readable = sys::reopen(fd, O_RDONLY);
  std::optional<bool> leased;
  if (readable.has_value()) leased = TRY(sys::has_writer(readable->get()));
  if (leased.has_value() && !*leased) return std::optional<std::string>();
  for (const std::string& name : TRY(sys::list_directory("/proc"))) {
    if (!is_number(name)) continue;
    Pid pid{std::stoi(name)};
    if (writes(pid, file)) return std::optional<std::string>(name_of(pid));
  }
  if (leased.has_value()) return std::optional<std::string>("another program");
  return std::optional<std::string>();
}

}  // namespace stint::files
