// stint restart JOB[@N] | CHECKPOINT [--name N] [-d]
#include <fmt/format.h>

#include "cli/command.h"
#include "cli/restart.h"
#include "job/launch.h"
#include "job/report.h"
#include "job/target.h"
#include "restore/restart.h"
#include "store/catalog.h"
#include "sys/file.h"
#include "sys/message.h"
#include "sys/process.h"
#include "sys/signal.h"
#include "sys/terminal.h"

namespace stint::cli {
namespace {

// The job that the checkpoint goes on as: its own directory, or a new one.
struct Place {
  job::Job job;
  sys::UniqueFd lock;
  std::optional<int> stopped_by;  // the checkpoint that ended it
};

Result<Place> own_directory(const store::CheckpointEntry& checkpoint) {
  Place place;
  place.job = TRY(job::find_job(checkpoint.job));
  place.lock = TRY(job::lock_job(place.job.directory, job::kLockPatience_ms));
  if (job::is_alive(place.job.root) || job::is_alive(place.job.stand_in))
    return failed(fmt::format("job {} runs (process {}): `stint kill {}` ends it", place.job.name,
                              place.job.root.pid.number, place.job.name));
  place.stopped_by = job::stopped_by(place.job.directory);
  return place;
}

Result<Place> new_directory(const std::string& name) {
  job::Claim claim = TRY(job::claim_job(name, false));
  Place place;
  place.job.name = claim.name;
  place.job.directory = claim.directory;
  place.lock = std::move(claim.lock);
  return place;
}

Result<> describe(job::Job& job, const image::JobRecord& record, const job::Family& family, bool terminal) {
  job::take_over(job, record);
  ++job.generation;
  job.streams = job::inspect_streams();
  job.terminal_device = 0;
  if (family.master.valid()) {
    sys::UniqueFd slave = TRY(sys::open_pty_slave(family.master.get(), false));
    job.terminal_device = TRY(sys::fstat(slave.get())).st_rdev;
    for (job::Stream& stream : job.streams) stream.outside = stream.outside && !(terminal && stream.terminal);
  }
  return job::note_family(job, family);
}

restore::RestartOptions restart_options(const store::CheckpointEntry& checkpoint, const Place& place,
                                        const std::string& state) {
  restore::RestartOptions options;
  options.checkpoint = checkpoint.path;
  options.job_directory = place.job.directory;
  options.state_directory = state;
  options.kept_directory = fmt::format("{}/kept/{}", place.job.directory, checkpoint.number);
  options.sleeps_file = place.job.directory + "/sleeps";
  options.stopped_then = place.stopped_by && static_cast<uint64_t>(*place.stopped_by) == checkpoint.number;
  options.user_namespace = job::needs_user_namespace();
  return options;
}

// What a restart that fails leaves of the job: what was there before it.
Result<> leave_as_it_was(const Place& place, bool is_new, const std::optional<job::Ending>& ending) {
  if (is_new) return job::remove_job(place.job.directory);
  if (!place.stopped_by) TRY(job::clear_ending(place.job.directory));
  if (ending) TRY(job::write_ending(place.job.directory, *ending));
  // What ended it decides, at the next attempt, whose work a changed file can be.
  if (place.stopped_by) TRY(job::mark_stopped(place.job, *place.stopped_by));
  return {};
}

Result<restore::Restarted> restart_at(const store::CheckpointEntry& checkpoint, Place& place, bool is_new,
                                      const std::optional<job::TerminalRelay>& terminal) {
  restore::RestartOptions options = restart_options(checkpoint, place, TRY(job::state_directory()));
  options.terminal = terminal.has_value();
  if (terminal) options.size = terminal->size();
  job::Job now = place.job;
  bool announced = false;
  // Killed between these, we leave a job that is ended by name; it never runs without one.
  options.before_run = [&](const image::JobRecord& record, const job::Family& family) -> Result<> {
    TRY(describe(now, record, family, terminal && family.master.valid()));
    announced = true;
    TRY(job::write_job(now));
    return job::clear_ending(place.job.directory);
  };
  std::optional<job::Ending> ending = job::ending_of(place.job);
  Result<restore::Restarted> restarted = restore::restart(options);
  if (restarted) {
    place.job = std::move(now);
    return restarted;
  }
  Result<> left = leave_as_it_was(place, is_new, ending);
  if (left && announced && !is_new) left = job::write_job(place.job);
  if (!left) return failed(fmt::format("{}; and: {}", restarted.error().text(), left.error().text()));
  return restarted;
}

Result<int> go_on(const store::CheckpointEntry& checkpoint, Place place, const RestartWishes& wishes,
                  sys::UniqueFd* parent) {
  TRY(sys::block_signals());
  std::optional<job::TerminalRelay> terminal;
  if (int fd = job::terminal_to_relay(); fd >= 0) terminal.emplace(TRY(job::TerminalRelay::open(fd)));
  restore::Restarted restarted = TRY(restart_at(checkpoint, place, checkpoint.job != place.job.name, terminal));
  if (!restarted.family.master.valid()) terminal.reset();
  job::unlock_job(std::move(place.lock));
  for (const std::string& note : restarted.family.notes) say(fmt::format("stint: {}: {}", place.job.name, note));
  for (const std::string& remark : restarted.remarks) say(fmt::format("stint: {}: {}", place.job.name, remark));
  if (parent != nullptr) TRY(job::send_report(parent->get(), job::ReportKind::kRoot, restarted.family.root.number));
  if (parent != nullptr) parent->reset();
  return job::stay_with(place.job, restarted.family, terminal, wishes.supervisor, true);
}

}  // namespace

Result<int> restart_job(const RestartWishes& wishes) {
  store::Catalog catalog(TRY(job::jobs_directory()));
  store::CheckpointEntry checkpoint = TRY(catalog.resolve(wishes.checkpoint));
  bool in_place = wishes.name.empty() && !checkpoint.job.empty();
  if (!in_place && wishes.name.empty()) return usage("restart of a checkpoint by its path: give the job a --name");
  Place place = in_place ? TRY(own_directory(checkpoint)) : TRY(new_directory(wishes.name));
  if (!wishes.detached) return go_on(checkpoint, std::move(place), wishes, nullptr);
  job::Detached detached = TRY(job::detach(place.job.directory + "/log"));
  if (!detached.child) {
    fmt::print("{}\n", place.job.name);
    return 0;
  }
  Result<int> status = go_on(checkpoint, std::move(place), wishes, &detached.parent);
  if (!status && detached.parent.valid()) (void)job::send_failure(detached.parent.get(), status.error());
  sys::exit_now(status ? *status : job::kOurFailure);
}

int restart_command(Arguments given) {
  Parser parser("restart", "Takes a job up from a checkpoint. Its exit status is the program's own.");
  RestartWishes wishes;
  parser.add_option("CHECKPOINT", wishes.checkpoint, "JOB (its newest), JOB@N, or a checkpoint's directory")
      ->required();
  parser.add_option("--name", wishes.name, "as a new job of this name");
  parser.add_flag("-d,--detach", wishes.detached, "in the background: output goes to the job's log");
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(given)) return *status;
  Result<int> status = restart_job(wishes);
  if (status) return *status;
  return fail(status.error(), json);
}

}  // namespace stint::cli
