// What the kernel shows of a descriptor table from outside: a directory of links, a file of lines for each, and a
// duplicate of every descriptor, which answers all that can be asked of an open file description.
#include <fmt/format.h>

#include "fd/table.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/process.h"
#include "sys/procfs.h"
#include "sys/ptrace.h"
#include "tracee/first_thread.h"

namespace stint::fd {
namespace {

Result<Facts> look_at(int number, int links, int lines, int process, Pid pid, Pid seen_as, JobPid job_pid) {
  Facts facts;
  facts.pid = pid;
  facts.seen_as = seen_as;
  facts.job_pid = job_pid;
  facts.fd = RemoteFd{number};
  std::string name = std::to_string(number);
  facts.link = TRY(sys::readlink_at(links, name));
  std::string text = TRY(sys::read_small_at(lines, name));
  facts.info = TRY(proc::parse_fdinfo(text));
  facts.ours = TRY(sys::pidfd_getfd(process, facts.fd));
  facts.stat = TRY(sys::fstat(facts.ours.get()));
  return facts;
}

}  // namespace

void make_room(std::span<const Pid> processes) {
  constexpr size_t kForEach = 4, kOthers = 256;
  size_t numbers = kOthers + kForEach * processes.size();
  for (Pid pid : processes) {
    Result<sys::UniqueFd> links = sys::open_proc(tracee::living_thread(pid), "fd", O_RDONLY | O_DIRECTORY);
    if (!links.has_value()) continue;
    if (Result<std::vector<int>> found = sys::list_numbers(links->get()); found.has_value()) numbers += found->size();
  }
  sys::grow_descriptor_table(static_cast<int>(numbers));
}

Result<std::vector<Facts>> look(Pid pid, JobPid job_pid) {
  std::string who = fmt::format("descriptors of pid {}", pid.number);
  Pid seen_as = tracee::living_thread(pid);
  sys::UniqueFd process = TRY(sys::pidfd_of_thread(seen_as).in(who));
  sys::UniqueFd links = TRY(sys::open_proc(seen_as, "fd", O_RDONLY | O_DIRECTORY).in(who));
  sys::UniqueFd lines = TRY(sys::open_proc(seen_as, "fdinfo", O_RDONLY | O_DIRECTORY).in(who));
  std::vector<int> numbers = TRY(sys::list_numbers(links.get()).in(who));
  TRY(sys::allow_most_descriptors().in(who));
  std::vector<Facts> all;
  all.reserve(numbers.size());
  for (int number : numbers) {
    all.push_back(TRY(look_at(number, links.get(), lines.get(), process.get(), pid, seen_as, job_pid)
                          .in(fmt::format("pid {}: fd {}", pid.number, number))));
  }
  return all;
}

}  // namespace stint::fd
