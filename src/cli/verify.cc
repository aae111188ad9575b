// stint verify JOB[@N] | CHECKPOINT: is every byte what was written?
#include "store/verify.h"

#include <fmt/format.h>
#include <unistd.h>

#include "cli/command.h"
#include "job/state.h"
#include "store/catalog.h"

namespace stint::cli {
namespace {

Result<store::Verified> verify(const std::string& named, std::string& path) {
  store::Catalog catalog(TRY(job::jobs_directory()));
  path = TRY(catalog.resolve(named)).path;
  if (isatty(STDERR_FILENO) == 0) return store::verify(path, nullptr);
  uint64_t shown = 101;
  Result<store::Verified> verified = store::verify(path, [&](uint64_t done, uint64_t all) {
    uint64_t percent = all == 0 ? 100 : done * 100 / all;
    if (percent != shown) fmt::print(stderr, "\r{:3} %", percent);
    shown = percent;
  });
  fmt::print(stderr, "\r     \r");
  return verified;
}

}  // namespace

int verify_command(Arguments arguments) {
  Parser parser("verify", "Checks every byte of a checkpoint. Exits with 4 when it is damaged.");
  std::string named, path;
  parser.add_option("CHECKPOINT", named, "JOB (its newest), JOB@N, or a checkpoint's directory")->required();
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(arguments)) return *status;
  Result<store::Verified> verified = verify(named, path);
  if (!verified) return fail(verified.error(), json);
  if (json) {
    print_json(
        {{"path", path}, {"records", verified->records}, {"blocks", verified->blocks}, {"bytes", verified->bytes}});
  } else {
    say(fmt::format("{} is whole: {} records, {} blocks, {}", named, verified->records, verified->blocks,
                    human_size(verified->bytes)));
  }
  return kOk;
}

}  // namespace stint::cli
