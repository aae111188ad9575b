// stint run [--name N] [--every 10m|auto] [--on-signal USR1] [--resume] [-d] -- PROGRAM ARGS...
#include <fmt/format.h>

#include "cli/command.h"
#include "cli/restart.h"
#include "job/interval.h"
#include "job/launch.h"
#include "job/state.h"
#include "sys/process.h"
#include "sys/signal.h"

namespace stint::cli {
namespace {

struct RunOptions {
  std::string name, every, mtbf, on_signal, external = "refuse";
  uint32_t keep_last = 0;
  bool resume = false, detached = false, plain = false, contained = false;
  std::vector<std::string> arguments;
};

Result<> read_interval(const RunOptions& options, job::SupervisorOptions& wanted) {
  if (options.every == "auto") {
    wanted.mtbf_ms = options.mtbf.empty() ? job::kUsualMtbf_ms : TRY(parse_duration_ms(options.mtbf).in("--mtbf"));
    return {};
  }
  if (!options.mtbf.empty()) return usage("--mtbf goes with --every auto");
  if (!options.every.empty()) wanted.every_ms = TRY(parse_duration_ms(options.every).in("--every"));
  return {};
}

Result<job::SupervisorOptions> supervisor_options(const RunOptions& options) {
  job::SupervisorOptions wanted;
  TRY(read_interval(options, wanted));
  if (!options.on_signal.empty()) {
    std::string name = options.on_signal.substr(0, options.on_signal.find(':'));
    std::string action = options.on_signal.substr(std::min(options.on_signal.size(), name.size() + 1));
    wanted.signal = TRY(sys::signal_number(name).in("--on-signal"));
    bool possible = wanted.signal != SIGKILL && wanted.signal != SIGSTOP && wanted.signal != SIGCHLD;
    if (!possible) return usage(fmt::format("--on-signal: {} cannot be caught", options.on_signal));
    if (!action.empty() && action != "stop") {
      return usage(fmt::format("--on-signal {}: only ':stop' may follow the signal", options.on_signal));
    }
    wanted.signal_stops = action == "stop";
  }
  if (options.keep_last > 0) {
    wanted.checkpoint_command.push_back("--keep-last");
    wanted.checkpoint_command.push_back(std::to_string(options.keep_last));
  }
  if (TRY(closes_external(options.external))) wanted.checkpoint_command.push_back("--external=close");
  return wanted;
}

Result<bool> has_checkpoint(const std::string& name) {
  TRY(job::check_name(name));
  return !TRY(job::list_checkpoints(TRY(job::jobs_directory()) + "/" + name)).empty();
}

Result<int> run(const RunOptions& options) {
  if (options.arguments.empty()) return usage("run: which program? stint run [OPTIONS] -- PROGRAM ARGUMENTS...");
  if (options.plain && options.contained) return usage("run: --plain and --contained exclude each other");
  job::LaunchPlan plan;
  plan.arguments = options.arguments;
  plan.supervisor = TRY(supervisor_options(options));
  plan.detached = options.detached;
  plan.contained = options.contained || (!options.plain && job::contained_by_default());
  plan.own_ipc = !options.plain;
  bool named = !options.name.empty();
  std::string name = options.name;
  if (!named) name = job::name_for(options.arguments, TRY(sys::working_directory()), options.resume);
  if (options.resume && TRY(has_checkpoint(name))) {
    return restart_job({.checkpoint = name, .name = "", .detached = options.detached, .supervisor = plan.supervisor});
  }
  plan.claim = TRY(job::claim_job(name, !named && !options.resume));
  std::string job_name = plan.claim.name;
  int status = TRY(job::launch(std::move(plan)));
  if (options.detached) fmt::print("{}\n", job_name);
  return status;
}

// What follows the options is the program's. If it looks like an option and no "--" stands before it, it is a mistake.
std::optional<std::string> unknown_flag(std::vector<std::string>& rest) {
  if (rest.empty()) return std::nullopt;
  if (rest[0] == "--") {
    rest.erase(rest.begin());
    return std::nullopt;
  }
  return rest[0].starts_with("-") ? std::optional(rest[0]) : std::nullopt;
}

}  // namespace

int run_command(Arguments arguments) {
  Parser parser("run", "Runs a program as a job that can be checkpointed. Its exit status is the program's own.");
  RunOptions options;
  parser.add_option("--name", options.name, "the job's name (else the program's, with a number if need be)");
  parser.add_option("--every", options.every,
                    "take a checkpoint after each such span: 30s, 10m, 2h; auto: as often as loses least time");
  parser.add_option("--mtbf", options.mtbf, "with --every auto: the mean time between failures here (24h)");
  parser.add_option("--keep-last", options.keep_last,
                    "with --every or --on-signal: keep the newest N checkpoints, and forget older ones");
  parser.add_option("--on-signal", options.on_signal,
                    "take a checkpoint on this signal instead of passing it on; SIGNAL:stop stops the job with it, and "
                    "the exit status is 85");
  parser.add_option("--external", options.external,
                    "with --every or --on-signal: what is connected to the outside: refuse, or close (see `stint "
                    "checkpoint`)");
  parser.add_flag("--resume", options.resume, "take the job up from its newest checkpoint, if there is one");
  parser.add_flag("-d,--detach", options.detached,
                  "in the background: output goes to the job's log, its name to stdout");
  parser.add_flag("--plain", options.plain, "in this system's namespaces, not in namespaces of its own");
  parser.add_flag("--contained", options.contained, "in namespaces of its own, also for who needs none");
  bool& json = parser.json();
  parser.prefix_command();
  if (std::optional<int> status = parser.read(arguments)) return *status;
  options.arguments = parser.remaining();
  if (std::optional<std::string> flag = unknown_flag(options.arguments)) {
    return fail(usage(fmt::format("run: {}: no such option (`stint run --help` lists them)", *flag)), json);
  }
  if (!options.arguments.empty()) {
    Result<std::string> program = job::program_to_run(options.arguments[0]);
    if (!program) {
      fail(program.error(), json);
      return job::exit_status_of(program.error());
    }
  }
  Result<int> status = run(options);
  if (status) return *status;
  int shown = fail(status.error(), json);
  return status.error().kind() == ErrorKind::kUsage ? shown : job::kOurFailure;
}

}  // namespace stint::cli
