// stint checkpoint JOB|PID [--stop] [--compress METHOD] [--bundle]
#include <fmt/format.h>

#include <cctype>

#include "capture/checkpoint.h"
#include "cli/command.h"
#include "job/state.h"
#include "store/writer.h"
#include "sys/file.h"
#include "sys/poll.h"
#include "sys/process.h"

namespace stint::cli {
namespace {

struct CheckpointArguments {
  std::string target, compress = "zstd";
  bool stop = false, bundle = false;
};

bool is_number(const std::string& text) { return !text.empty() && std::ranges::all_of(text, ::isdigit); }

struct LockedJob {
  job::Job job;
  sys::UniqueFd lock;
};

// A job that is just being started or restarted is waited for: what its directory says is read under its lock.
Result<LockedJob> find_target(const std::string& target) {
  std::string directory = TRY(job::jobs_directory()) + "/" + target;
  if (is_number(target)) {
    Pid root{std::atoi(target.c_str())};
    std::optional<job::Job> found = TRY(job::job_of_root(root));
    directory = found ? found->directory : TRY(job::adopt(root)).directory;
  } else if (!sys::stat(directory).has_value()) {
    TRY(job::find_job(target));  // It says what is wrong; or the job has come up just now.
  }
  sys::UniqueFd lock = TRY(job::lock_job(directory, job::kLockPatience_ms));
  return LockedJob{TRY(job::read_job(directory)), std::move(lock)};
}

image::JobRecord job_record(const job::Job& job) {
  image::JobRecord record;
  record.name = job.name;
  record.generation = job.generation;
  record.contained = job.contained;
  record.uid = job.uid, record.gid = job.gid;
  record.arguments = job.arguments;
  record.directory = job.working_directory;
  record.stand_ins = job.stand_ins;
  record.agent_hash = job.agent_hash;
  record.has_terminal = job.terminal_device != 0;
  return record;
}

capture::Target capture_target(const job::Job& job, const std::string& state) {
  capture::Target target;
  target.root = job.root.pid;
  target.job = job_record(job);
  if (job.stand_in.pid.number != 0) target.stand_ins.push_back(job.stand_in.pid);
  for (int stream = 0; stream < 3; ++stream) {
    const job::Stream& given = job.streams[static_cast<size_t>(stream)];
    if (given.open && given.outside) target.outside_streams.push_back({stream, given.device, given.inode});
  }
  target.terminal_device = job.terminal_device;
  target.ledger_file = job.agent_hash.empty() ? "" : job.directory + "/ledger";
  target.sleeps_file = job.directory + "/sleeps";
  target.hash_cache_file = state + "/hashes";
  return target;
}

struct Taken {
  std::string job;
  uint64_t number = 0;
  store::Manifest manifest;
  capture::CheckpointReport report;
};

// The numbers of the job's family are free again when this returns: it can be restarted at once.
Result<> wait_until_gone(const job::Job& job) {
  constexpr int kPatience_ms = 5000;
  for (int waited = 0; waited < kPatience_ms; ++waited) {
    if (!job::is_alive(job.stand_in) && !job::is_alive(job.init)) return {};
    TRY(sys::poll({}, 1));
  }
  return {};
}

Result<Taken> take(const CheckpointArguments& arguments) {
  store::WriteOptions write;
  write.compression = TRY(store::parse_compression(arguments.compress).in("--compress"));
  LockedJob locked = TRY(find_target(arguments.target));
  const job::Job& job = locked.job;
  if (!job::is_alive(job.root))
    return failed(fmt::format("job {} does not run: {}", job.name, job::name_of(job::state_of(job))));
  capture::Target target = capture_target(job, TRY(job::state_directory()));
  std::unique_ptr<store::Writer> writer = TRY(store::Writer::create(job.directory + "/checkpoints", write));
  capture::CheckpointOptions options;
  options.stop = arguments.stop;
  options.bundle = arguments.bundle;
  options.before_kill = [&] { return job::mark_stopped(job, static_cast<int>(writer->number())); };
  options.before_commit = [&](image::JobRecord& record, int64_t pause_ns) {
    store::Manifest& manifest = writer->manifest();
    manifest.name = job.name, manifest.host = record.host, manifest.created_ns = record.realtime_ns;
    manifest.pause_ns = pause_ns;
    for (const std::string& word : job.arguments) manifest.command += (manifest.command.empty() ? "" : " ") + word;
  };
  Taken taken{job.name, writer->number(), {}, TRY(capture::checkpoint(target, options, *writer))};
  taken.manifest = writer->manifest();
  if (arguments.stop) TRY(wait_until_gone(job));
  return taken;
}

std::string milliseconds(int64_t ns) { return fmt::format("{:.1f} ms", static_cast<double>(ns) / 1e6); }

}  // namespace

int checkpoint_command(Arguments given) {
  Parser parser("checkpoint", "Saves a running job, which runs on; or, with --stop, saves and ends it.");
  CheckpointArguments arguments;
  parser.add_option("JOB", arguments.target, "its name, as `stint ps` shows it, or the number of any process")->required();
  parser.add_flag("--stop", arguments.stop, "end the job before it runs again, as soon as its checkpoint is safe");
  parser.add_flag("--bundle", arguments.bundle, "keep the program and its libraries in the checkpoint");
  parser.add_option("--compress", arguments.compress, "none, lz4, zstd or zstd:LEVEL (zstd)");
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(given)) return *status;
  Result<Taken> taken = take(arguments);
  if (!taken) return fail(taken.error(), json);
  const capture::CheckpointReport& report = taken->report;
  if (json) {
    print_json({{"job", taken->job},
                {"checkpoint", taken->number},
                {"memory_bytes", report.memory_bytes},
                {"stored_bytes", taken->manifest.stored_bytes},
                {"pause_ns", report.pause_ns},
                {"total_ns", report.total_ns}});
  } else {
    say(fmt::format("checkpoint {}@{}  {}, {} stored, paused {}, {}", taken->job, taken->number,
                    human_size(report.memory_bytes), human_size(taken->manifest.stored_bytes),
                    milliseconds(report.pause_ns), milliseconds(report.total_ns)));
  }
  return kOk;
}

}  // namespace stint::cli
