#include "files/writers.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "proc/fdinfo.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/inode.h"
#include "sys/procfs.h"

namespace stint::files {
namespace {

bool is_number(const std::string& name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
}

// The standard streams that we were given go on as the job's, and whoever started us (a shell, a queue's batch script)
// still holds the same open file description: that is nobody else.
bool is_ours(Pid pid, int fd) {
  for (int stream = 0; stream < 3; ++stream) {
    Result<bool> same = sys::shares_description(stream, pid, fd);
    if (same.has_value() && *same) return true;
  }
  return false;
}

enum class Writes { kNo, kThroughOurs, kYes };

// Whether the process has the file open for writing. Processes come and go, and others' cannot be looked into: no
// answer is a no.
Writes writes(Pid pid, const struct stat& file) {
  Writes found = Writes::kNo;
  Result<std::vector<std::string>> numbers = sys::list_directory(sys::proc_path(pid, "fd"));
  if (!numbers.has_value()) return found;
  for (const std::string& number : *numbers) {
    Result<struct stat> there = sys::stat(sys::proc_path(pid, "fd/" + number));
    if (!there.has_value() || there->st_ino != file.st_ino || there->st_dev != file.st_dev) continue;
    Result<std::string> text = sys::read_proc(pid, "fdinfo/" + number);
    if (!text.has_value()) continue;
    Result<proc::FdInfo> fdinfo = proc::parse_fdinfo(*text);
    if (!fdinfo.has_value() || (fdinfo->flags & O_ACCMODE) == O_RDONLY || (fdinfo->flags & O_PATH) != 0) continue;
    if (!is_ours(pid, std::stoi(number))) return Writes::kYes;
    found = Writes::kThroughOurs;
  }
  return found;
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
  bool through_ours = false;
  for (const std::string& name : TRY(sys::list_directory("/proc"))) {
    if (!is_number(name)) continue;
    Pid pid{std::stoi(name)};
    Writes answer = writes(pid, file);
    if (answer == Writes::kYes) return std::optional<std::string>(name_of(pid));
    through_ours = through_ours || answer == Writes::kThroughOurs;
  }
  if (leased.has_value() && !through_ours) return std::optional<std::string>("another program");
  return std::optional<std::string>();
}

}  // namespace stint::files
