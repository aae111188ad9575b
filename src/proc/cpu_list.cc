#include "proc/cpu_list.h"

#include <optional>

#include "proc/scan.h"

namespace stint::proc {

Result<std::vector<uint32_t>> parse_cpu_list(std::string_view text) {
  constexpr uint64_t kMostCpus = 1 << 16;
  Scanner scanner(text);
  std::vector<uint32_t> cpus;
  do {
    std::optional<uint64_t> first = scanner.decimal();
    std::optional<uint64_t> last = first.has_value() && scanner.skip('-') ? scanner.decimal() : first;
    if (!first.has_value() || !last.has_value() || *last < *first || *last >= kMostCpus)
      return failed("the list of processors is none");
    for (uint64_t cpu = *first; cpu <= *last; ++cpu) cpus.push_back(static_cast<uint32_t>(cpu));
  } while (scanner.skip(','));
  scanner.skip('\n');
  if (!scanner.done()) return failed("the list of processors is none");
  return cpus;
}

}  // namespace stint::proc
