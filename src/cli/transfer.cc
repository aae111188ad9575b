// stint export CHECKPOINT > FILE; stint import [JOB] < FILE
#include "store/transfer.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include "cli/command.h"
#include "job/state.h"
#include "job/target.h"
#include "store/catalog.h"

namespace stint::cli {
namespace {

Result<> export_it(const std::string& named) {
  if (isatty(STDOUT_FILENO) != 0) return usage("a checkpoint is not for a terminal: stint export JOB > FILE");
  store::Catalog catalog(TRY(job::jobs_directory()));
  return store::export_checkpoint(TRY(catalog.resolve(named)).path, STDOUT_FILENO);
}

// As if it had been stopped here by this checkpoint.
Result<> describe(const job::Claim& claim, const image::JobRecord& record, uint64_t number) {
  job::Job job;
  job.name = claim.name, job.directory = claim.directory;
  job::take_over(job, record);
  job.started = record.realtime_ns / 1'000'000'000;
  TRY(job::write_ending(job.directory, {.killed = true, .value = SIGKILL}));
  TRY(job::mark_stopped(job, static_cast<int>(number)));
  return job::write_job(job);
}

struct Imported {
  std::string job;
  uint64_t number = 0;
};

Result<Imported> import_it(const std::string& name) {
  store::Import stream = TRY(store::Import::begin(STDIN_FILENO));
  job::Claim claim = TRY(job::claim_job(name.empty() ? stream.job().name : name, name.empty()));
  Result<uint64_t> number = stream.finish(claim.directory + "/checkpoints");
  Result<> described = number ? describe(claim, stream.job(), *number) : Result<>(std::move(number).error());
  if (described) return Imported{claim.name, *number};
  if (Result<> removed = job::remove_job(claim.directory); !removed)
    return failed(fmt::format("{}; and: {}", described.error().text(), removed.error().text()));
  return std::move(described).error();
}

}  // namespace

int export_command(Arguments arguments) {
  Parser parser("export", "Writes a checkpoint to stdout as one stream, with all that it needs of others.");
  std::string named;
  parser.add_option("CHECKPOINT", named, "JOB (its newest), JOB@N, or a checkpoint's directory")->required();
  if (std::optional<int> status = parser.read(arguments)) return *status;
  Result<> exported = export_it(named);
  if (exported) return kOk;
  say(fmt::format("stint: {}", exported.error().text()));  // stdout is the stream's.
  return exit_of(exported.error().kind());
}

int import_command(Arguments arguments) {
  Parser parser("import", "Makes a job, stopped, of a stream that `stint export` has written, read from stdin.");
  std::string name;
  parser.add_option("JOB", name, "the job's name (else what it was called, with a number if need be)");
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(arguments)) return *status;
  Result<Imported> imported = import_it(name);
  if (!imported) return fail(imported.error(), json);
  if (json)
    print_json({{"job", imported->job}, {"checkpoint", imported->number}});
  else
    fmt::print("{}@{}\n", imported->job, imported->number);
  return kOk;
}

}  // namespace stint::cli
