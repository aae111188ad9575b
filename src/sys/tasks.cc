#include "sys/tasks.h"

#include <dirent.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "sys/call.h"
#include "sys/procfs.h"

namespace stint::sys {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

Result<std::vector<Pid>> list_threads(Pid process) {
  std::string path = fmt::format("/proc/{}/task", process.number);
  if (int injected = fault::take("opendir")) return os_error(path, injected);
  std::unique_ptr<DIR, CloseDirectory> directory(::opendir(path.c_str()));
  if (!directory) return os_error(path);
  std::vector<Pid> threads;
  while (const dirent* entry = ::readdir(directory.get()))
    if (entry->d_name[0] != '.') threads.push_back(Pid{std::atoi(entry->d_name)});
  return threads;
}

Result<std::vector<Pid>> list_children_of_thread(Pid process, Pid thread) {
  std::string text = TRY(read_proc(process, fmt::format("task/{}/children", thread.number)));
  std::vector<Pid> children;
  for (char* at = text.data(); *at != '\0';) {
    char* rest = nullptr;
    long pid = std::strtol(at, &rest, 10);
    if (rest == at) break;
    children.push_back(Pid{static_cast<int>(pid)});
    at = rest;
  }
  return children;
}

Result<std::vector<Pid>> list_children(Pid process) {
  std::vector<Pid> children;
  for (Pid thread : TRY(list_threads(process))) {
    Result<std::vector<Pid>> found = list_children_of_thread(process, thread);
    if (!found.has_value()) continue;  // The thread has ended meanwhile.
    children.insert(children.end(), found->begin(), found->end());
  }
  return children;
}

}  // namespace stint::sys
