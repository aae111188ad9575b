// What the commands have in common: how they are found, how they read their arguments, how they end.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "base/result.h"
#include "image/fd_records.h"

namespace stint::cli {

// The arguments after the command's own name.
using Arguments = std::span<char* const>;

struct Command {
  const char* name;
  const char* summary;
  // What the process exits with.
  int (*run)(Arguments arguments);
};

int run_command(Arguments arguments);
int checkpoint_command(Arguments arguments);
int restart_command(Arguments arguments);
int ps_command(Arguments arguments);
int ls_command(Arguments arguments);
int diff_command(Arguments arguments);
int prune_command(Arguments arguments);
int show_command(Arguments arguments);
int verify_command(Arguments arguments);
int forget_command(Arguments arguments);
int export_command(Arguments arguments);
int import_command(Arguments arguments);
int logs_command(Arguments arguments);
int kill_command(Arguments arguments);
int wait_command(Arguments arguments);
int doctor_command(Arguments arguments);

// All commands, in the order in which help shows them.
std::span<const Command> commands();

enum Exit { kOk = 0, kFailedExit = 1, kUsageExit = 2, kRefusedExit = 3, kDamagedExit = 4, kUnfitExit = 5 };

// The parser of one command: only that of the command that was chosen is ever built. Every command has --dir, which
// read() puts into force.
class Parser : public CLI::App {
 public:
  Parser(const char* command, const char* summary);

  // Adds --json.
  bool& json();
  // Nothing when the command is to run; else what to exit with (0 after --help, 2 after a mistake, which it explains).
  std::optional<int> read(Arguments arguments);

 private:
  std::string command_, directory_;
  bool json_ = false;
};

// Says why a command failed, on stderr or as {"error": KIND, "message": TEXT} on stdout; returns the exit status.
int fail(const Error& error, bool json);
// The name of an error's kind in --json: "failed", "usage", "refused", "damaged", "unfit".
const char* name_of(ErrorKind kind);
int exit_of(ErrorKind kind);

// One object, one line, on stdout. Bytes that are no UTF-8 are replaced.
void print_json(const nlohmann::ordered_json& json);
// A line on stderr.
void say(const std::string& line);

// "812 MiB", "3.1 GiB", "4 s", "2 d 3 h".
std::string human_size(uint64_t bytes);
std::string human_time(int64_t seconds);
// "pid 42: fd 5 (pipe:[123]): the other end of this pipe is open outside of the job".
std::string closed_line(const image::ClosedEndRecord& closed);
// What --external=WAY asks for: "refuse" is false, "close" true, anything else a mistake.
Result<bool> closes_external(const std::string& way);
// "10m", "90s", "2h", "1d", "30": milliseconds.
Result<int64_t> parse_duration_ms(const std::string& text);

}  // namespace stint::cli
