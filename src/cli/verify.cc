// stint verify [JOB[@N] | CHECKPOINT ...] [--sample 5%]: is every byte what was written?
#include "store/verify.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>

#include "cli/command.h"
#include "job/state.h"
#include "store/catalog.h"

namespace stint::cli {
namespace {

struct VerifyArguments {
  std::vector<std::string> named;
  std::string sample = "100%";
};

// "5%", from 0 to 100.
Result<double> parse_share(const std::string& text) {
  constexpr double kWhole = 100;
  double percent = -1;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), percent);
  bool good = problem == std::errc() && std::string_view(end, text.data() + text.size()) == "%";
  if (!good || !(percent >= 0 && percent <= kWhole))
    return usage(fmt::format("--sample: '{}' is no share such as 5%", text));
  return percent / kWhole;
}

// Those that are named; without a name, all of all jobs.
Result<std::vector<store::CheckpointEntry>> find_all(const std::vector<std::string>& named) {
  store::Catalog catalog(TRY(job::jobs_directory()));
  std::vector<store::CheckpointEntry> found;
  for (const std::string& name : named) found.push_back(TRY(catalog.resolve(name)));
  if (!named.empty()) return found;
  for (const std::string& job : TRY(catalog.jobs()))
    for (store::CheckpointEntry& entry : TRY(catalog.list(job))) found.push_back(std::move(entry));
  return found;
}

Result<store::Verified> verify(const store::CheckpointEntry& checkpoint, double sample) {
  store::VerifyOptions options{.sample = sample, .progress = {}};
  uint64_t shown = 101;
  if (isatty(STDERR_FILENO) != 0)
    options.progress = [&](uint64_t done, uint64_t all) {
      uint64_t percent = all == 0 ? 100 : done * 100 / all;
      if (percent != shown) fmt::print(stderr, "\r{:3} %", percent);
      shown = percent;
    };
  Result<store::Verified> verified = store::verify(checkpoint.path, options);
  if (options.progress) fmt::print(stderr, "\r     \r");
  return verified;
}

std::string title(const store::CheckpointEntry& entry) {
  return entry.job.empty() ? entry.path : fmt::format("{}@{}", entry.job, entry.number);
}

// The worst that was found: the other checkpoints are looked at all the same.
Result<> verify_all(const VerifyArguments& arguments, nlohmann::ordered_json& list, bool json) {
  double sample = TRY(parse_share(arguments.sample));
  Result<> all;
  for (const store::CheckpointEntry& entry : TRY(find_all(arguments.named))) {
    Result<store::Verified> verified = verify(entry, sample);
    if (!verified) {
      list.push_back({{"path", entry.path}, {"whole", false}, {"message", verified.error().text()}});
      if (!json) say("stint: " + verified.error().text());
      all = std::move(verified).error();
      continue;
    }
    list.push_back({{"path", entry.path},
                    {"whole", true},
                    {"records", verified->records},
                    {"blocks", verified->blocks},
                    {"bytes", verified->bytes}});
    if (!json)
      say(fmt::format("{} is whole{}: {} records, {} blocks, {}", title(entry),
                      sample < 1 ? " as far as it was read" : "", verified->records, verified->blocks,
                      human_size(verified->bytes)));
  }
  return all;
}

}  // namespace

int verify_command(Arguments given) {
  Parser parser("verify", "Checks every byte of checkpoints. Exits with 4 when one is damaged.");
  VerifyArguments arguments;
  parser.add_option("CHECKPOINT", arguments.named,
                    "JOB (its newest), JOB@N, or a checkpoint's directory; nothing: all of all jobs");
  parser.add_option("--sample", arguments.sample, "read only this share of the pages, others each time: 5%");
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(given)) return *status;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  Result<> verified = verify_all(arguments, list, json);
  // What is wrong with a checkpoint is in the list, or has been said.
  if (!verified && verified.error().kind() == ErrorKind::kUsage) return fail(verified.error(), json);
  if (!verified && list.empty()) return fail(verified.error(), json);
  if (json) print_json({{"checkpoints", list}});
  return verified ? kOk : exit_of(verified.error().kind());
}

}  // namespace stint::cli
