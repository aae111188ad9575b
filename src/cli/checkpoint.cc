// stint checkpoint JOB|PID [--stop] [--external=close] [--compress METHOD] [--bundle] [--full] [--keep-last N]
#include <fmt/format.h>

#include <cctype>
#include <cstdlib>
#include <string_view>

#include "capture/checkpoint.h"
#include "cli/command.h"
#include "job/state.h"
#include "job/target.h"
#include "store/forget.h"
#include "store/writer.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/poll.h"
#include "sys/process.h"

namespace stint::cli {
namespace {

struct CheckpointArguments {
  std::string target, compress = "zstd";
  bool stop = false, bundle = false, full = false, close_external = false;
  uint32_t keep_last = 0;  // 0: all
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
  // Whoever starts it makes the directory, and locks it a moment later: we may have been between.
  for (int tries = 0; tries < 200 && !sys::stat(directory + "/job.json").has_value(); ++tries) {
    lock.reset();
    TRY(sys::poll({}, 10));
    lock = TRY(job::lock_job(directory, job::kLockPatience_ms));
  }
  return LockedJob{TRY(job::read_job(directory)), std::move(lock)};
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

// For tests and benchmarks.
capture::PreCopyWhen when_to_copy_ahead() {
  const char* wanted = std::getenv("STINT_PRECOPY");
  if (wanted != nullptr && std::string_view(wanted) == "always") return capture::PreCopyWhen::kAlways;
  if (wanted != nullptr && std::string_view(wanted) == "never") return capture::PreCopyWhen::kNever;
  return capture::PreCopyWhen::kWhereItPays;
}

Result<Taken> try_to_take(const CheckpointArguments& arguments, const store::WriteOptions& write, const job::Job& job) {
  if (!job::is_alive(job.root))
    return failed(fmt::format("job {} does not run: {}", job.name, job::name_of(job::state_of(job))));
  TRY(job::clear_ending(job.directory));  // Of a checkpoint that was to stop it and was killed before it did.
  capture::Target target = TRY(job::capture_target(job));
  std::unique_ptr<store::Writer> writer = TRY(store::Writer::create(job.directory + "/checkpoints", write));
  capture::CheckpointOptions options;
  options.stop = arguments.stop;
  options.bundle = arguments.bundle;
  options.close_external = arguments.close_external;
  options.precopy = when_to_copy_ahead();
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
  if (taken.report.left_over) return *taken.report.left_over;
  return taken;
}

Result<> forget_older(const job::Job& job, uint32_t keep_last) {
  if (keep_last == 0) return {};
  std::vector<store::CheckpointEntry> entries = TRY(store::Catalog(TRY(job::jobs_directory())).list(job.name));
  std::set<uint64_t> kept = store::kept_by({.last = keep_last}, entries);
  TRY(store::forget(job.directory + "/checkpoints", entries, kept).in("the checkpoint is taken; older ones are left"));
  return {};
}

// What cannot be saved in this moment can be in another: it is tried again for some seconds, after ever longer rests.
Result<Taken> take(const CheckpointArguments& arguments) {
  store::WriteOptions write;
  write.compression = TRY(store::parse_compression(arguments.compress).in("--compress"));
  write.full = arguments.full;
  LockedJob locked = TRY(find_target(arguments.target));
  constexpr int kDescriptorsOfMost = 1024;
  sys::grow_descriptor_table(kDescriptorsOfMost);  // Before there are threads.
  constexpr int kFirstRest_ms = 10, kLongestRest_ms = 1000;
  for (int rest_ms = kFirstRest_ms;; rest_ms *= 2) {
    Result<Taken> taken = try_to_take(arguments, write, locked.job);
    bool passes = !taken && taken.error().kind() == ErrorKind::kNotNow;
    if (taken) TRY(forget_older(locked.job, arguments.keep_last));
    if (!passes || rest_ms > kLongestRest_ms) return taken;
    TRY(sys::poll({}, rest_ms));
  }
}

nlohmann::ordered_json closed_json(const std::vector<image::ClosedEndRecord>& closed) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const image::ClosedEndRecord& one : closed)
    list.push_back({{"pid", one.pid}, {"fd", one.fd}, {"link", one.link}, {"what", one.what}});
  return list;
}

std::string milliseconds(int64_t ns) { return fmt::format("{:.1f} ms", static_cast<double>(ns) / 1e6); }

}  // namespace

int checkpoint_command(Arguments given) {
  Parser parser("checkpoint", "Saves a running job, which runs on; or, with --stop, saves and ends it.");
  CheckpointArguments arguments;
  std::string external = "refuse";
  parser.add_option("JOB", arguments.target, "its name, as `stint ps` shows it, or the number of any process")
      ->required();
  parser.add_flag("--stop", arguments.stop, "end the job before it runs again, as soon as its checkpoint is safe");
  parser.add_flag("--bundle", arguments.bundle, "keep the program and its libraries in the checkpoint");
  parser.add_flag("--full", arguments.full, "store everything, also what the last checkpoint has already");
  parser.add_option("--keep-last", arguments.keep_last, "then forget all but the newest N (see `stint forget`)");
  parser.add_option("--external", external,
                    "what is connected to the outside: refuse, or close (after a restart it is as if the other end had "
                    "gone)");
  parser.add_option("--compress", arguments.compress, "none, lz4, zstd or zstd:LEVEL (zstd)");
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(given)) return *status;
  Result<bool> close_external = closes_external(external);
  if (!close_external) return fail(close_external.error(), json);
  arguments.close_external = *close_external;
  Result<Taken> taken = take(arguments);
  if (!taken) return fail(taken.error(), json);
  const capture::CheckpointReport& report = taken->report;
  if (json) {
    print_json({{"job", taken->job},
                {"checkpoint", taken->number},
                {"memory_bytes", report.memory_bytes},
                {"stored_bytes", taken->manifest.stored_bytes},
                {"pause_ns", report.pause_ns},
                {"total_ns", report.total_ns},
                {"closed", closed_json(report.closed)}});
  } else {
    for (const image::ClosedEndRecord& closed : report.closed) say("closed: " + closed_line(closed));
    say(fmt::format("checkpoint {}@{}  {}, {} stored, paused {}, {}", taken->job, taken->number,
                    human_size(report.memory_bytes), human_size(taken->manifest.stored_bytes),
                    milliseconds(report.pause_ns), milliseconds(report.total_ns)));
  }
  return kOk;
}

}  // namespace stint::cli
