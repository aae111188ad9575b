#include "sys/tasks.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "sys/call.h"
#include "sys/fd.h"

namespace stint::sys {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

Result<std::string> read_small(const std::string& path) {
  UniqueFd fd(TRY(call("open", [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); })));
  std::string text;
  char buffer[4096];
  while (long got = TRY(call("read", [&] { return ::read(fd.get(), buffer, sizeof(buffer)); })))
    text.append(buffer, got);
  return text;
}

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

Result<std::vector<Pid>> list_children(Pid process) {
  std::vector<Pid> children;
  for (Pid thread : TRY(list_threads(process))) {
    Result<std::string> text = read_small(fmt::format("/proc/{}/task/{}/children", process.number, thread.number));
    if (!text.has_value()) continue;  // The thread has ended meanwhile.
    for (char* at = text->data(); *at != '\0';) {
      char* rest = nullptr;
      long pid = std::strtol(at, &rest, 10);
      if (rest == at) break;
      children.push_back(Pid{static_cast<int>(pid)});
      at = rest;
    }
  }
  return children;
}

}  // namespace stint::sys
