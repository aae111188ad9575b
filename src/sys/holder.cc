#include "sys/holder.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/procfs.h"

namespace stint::sys {

Result<bool> has_open(Pid process, const std::string& link) {
  UniqueFd links = TRY(open_proc(process, "fd", O_RDONLY | O_DIRECTORY));
  for (int number : TRY(list_numbers(links.get()))) {
    Result<std::string> target = readlink_at(links.get(), std::to_string(number));
    if (target.has_value() && *target == link) return true;
  }
  return false;
}

Result<std::vector<Pid>> processes_with(const std::string& link) {
  UniqueFd processes = TRY(open("/proc", O_RDONLY | O_DIRECTORY));
  std::vector<Pid> found;
  for (int number : TRY(list_numbers(processes.get())))
    if (has_open(Pid{number}, link).value_or(false)) found.push_back(Pid{number});
  return found;
}

std::string title_of(Pid process) {
  std::string name = read_proc(process, "comm").value_or("?\n");
  if (!name.empty()) name.pop_back();
  return fmt::format("process {} ({})", process.number, name);
}

}  // namespace stint::sys
