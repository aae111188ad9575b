#include "cli/command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "job/state.h"

namespace stint::cli {

Parser::Parser(const char* command, const char* summary)
    : CLI::App(summary, std::string("stint ") + command), command_(command) {
  add_option("--dir", directory_, "where jobs and checkpoints are kept, instead of $STINT_HOME");
}

bool& Parser::json() {
  add_flag("--json", json_, "one JSON object on standard output");
  return json_;
}

std::optional<int> Parser::read(Arguments arguments) {
  std::vector<std::string> reversed;  // CLI11 wants the last one first.
  for (char* argument : arguments) reversed.insert(reversed.begin(), argument);
  // The one place where a library throws at us.
  try {
    parse(reversed);
    if (count("--dir") == 0) return std::nullopt;
    Result<> set = job::set_state_directory(directory_);
    if (set) return std::nullopt;
    return fail(set.error(), json_);
  } catch (const CLI::CallForHelp&) {
    std::fputs(help().c_str(), stdout);
    return kOk;
  } catch (const CLI::ParseError& error) {
    say(fmt::format("stint {}: {} (`stint {} --help` tells more)", command_, error.what(), command_));
    return kUsageExit;
  }
}

const char* name_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailed:
      return "failed";
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kRefused:
    case ErrorKind::kNotNow:
      return "refused";
    case ErrorKind::kDamaged:
      return "damaged";
    case ErrorKind::kUnfit:
      return "unfit";
  }
  return "failed";
}

int exit_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailed:
      return kFailedExit;
    case ErrorKind::kUsage:
      return kUsageExit;
    case ErrorKind::kRefused:
    case ErrorKind::kNotNow:
      return kRefusedExit;
    case ErrorKind::kDamaged:
      return kDamagedExit;
    case ErrorKind::kUnfit:
      return kUnfitExit;
  }
  return kFailedExit;
}

int fail(const Error& error, bool json) {
  if (json) print_json({{"error", name_of(error.kind())}, {"message", error.text()}});
  bool colour = isatty(STDERR_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  say(fmt::format("{}stint: {}{}", colour ? "\x1b[31m" : "", error.text(), colour ? "\x1b[0m" : ""));
  return exit_of(error.kind());
}

void print_json(const nlohmann::ordered_json& json) {
  std::string text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void say(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

std::string human_size(uint64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 || value >= 10 ? fmt::format("{:.0f} {}", value, units[unit])
                                  : fmt::format("{:.1f} {}", value, units[unit]);
}

std::string human_time(int64_t seconds) {
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{} min {} s", seconds / 60, seconds % 60);
  if (seconds < 86400) return fmt::format("{} h {} min", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{} d {} h", seconds / 86400, seconds / 3600 % 24);
}

std::string closed_line(const image::ClosedEndRecord& closed) {
  std::string number = closed.fd >= 0 ? fmt::format("fd {} ", closed.fd) : "";
  return fmt::format("pid {}: {}({}): {}", closed.pid, number, closed.link, closed.what);
}

Result<bool> closes_external(const std::string& way) {
  if (way == "close") return true;
  if (way == "refuse") return false;
  return usage(fmt::format("--external={}: 'close' and 'refuse' are what there is", way));
}

Result<int64_t> parse_duration_ms(const std::string& text) {
  double number = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  double factor = 0;
  if (unit.empty() || unit == "s") factor = 1e3;
  if (unit == "ms") factor = 1;
  if (unit == "m" || unit == "min") factor = 60e3;
  if (unit == "h") factor = 3600e3;
  if (unit == "d") factor = 86400e3;
  if (problem != std::errc() || factor == 0 || !(number > 0) || number * factor > 1e15 || number * factor < 1) {
    return usage(fmt::format("'{}' is no span of time: write 30s, 10m, 2h or 1d", text));
  }
  return static_cast<int64_t>(number * factor);
}

}  // namespace stint::cli
