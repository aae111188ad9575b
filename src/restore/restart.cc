#include "restore/restart.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <time.h>

#include <cstring>

#include "files/agent_install.h"
#include "files/content.h"
#include "files/put_back.h"
#include "restore/maker.h"
#include "restore/relay.h"
#include "restore/takeover.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/memory.h"
#include "sys/message.h"

namespace stint::restore {
namespace {

// As FamilyPlan has it.
int32_t root_group(const image::ProcessRecord& root) {
  if (root.pgid == 0) return -1;        // Of a PID namespace above: FamilyPlan's outside_session.
  if (root.sid == root.pid) return -1;  // It makes a session of its own when its children of the old one are there.
  return root.pgid == root.pid ? 0 : root.pgid;
}

job::FamilyPlan family_plan(const Plan& plan, const RestartOptions& options) {
  job::FamilyPlan family;
  family.directory = options.job_directory;
  family.contained = plan.job.contained;
  family.own_ipc = plan.job.own_ipc;
  family.own_pts = plan.job.own_pts;
  family.user_namespace = options.user_namespace;
  if (!plan.job.stand_ins.empty()) family.stand_in = plan.job.stand_ins.front();
  family.root_pid = plan.job.root_pid;
  const image::ProcessRecord& root = plan.root().record;
  family.root_group = root_group(root);
  family.root_session = root.sid == root.pid ? 0 : root.sid;
  family.outside_session = root.sid == 0;
  family.monotonic_offset_ns = plan.job.monotonic_ns - sys::clock_ns(CLOCK_MONOTONIC);
  family.boottime_offset_ns = plan.job.boottime_ns - sys::clock_ns(CLOCK_BOOTTIME);
  family.terminal = plan.job.has_terminal || options.terminal;
  family.size = options.size;
  termios modes;
  if (plan.job.terminal_modes.size() == sizeof(modes)) {
    std::memcpy(&modes, plan.job.terminal_modes.data(), sizeof(modes));
    family.modes = modes;
  }
  return family;
}

// It is written where the maker and we both can get at it, however long: a message has a limit.
Result<MakerReport> receive_report(int socket, int report) {
  Bytes buffer(16);
  std::optional<sys::Message> message = TRY(sys::receive_message(socket, buffer, true));
  if (!message || message->size == 0) return failed("the new process ended before it was ready");
  Bytes bytes(static_cast<size_t>(TRY(sys::fstat(report)).st_size));
  TRY(sys::pread_all(report, bytes, 0));
  MakerReport decoded = TRY(image::decode<MakerReport>(bytes));
  if (!decoded.ready) return Error(static_cast<ErrorKind>(decoded.error_kind), decoded.error);
  return decoded;
}

files::CheckOptions file_options(const RestartOptions& options) {
  files::CheckOptions check;
  check.after.stopped = options.stopped_then;
  check.kept_directory = options.kept_directory;
  check.bundle_directory = options.state_directory + "/bundle";
  check.state_directory = options.state_directory;
  return check;
}

// The agent goes on with its notes in the ledger of the job that this is now.
Result<> lay_out_ledger(const image::Source& source, const std::string& agent_hash, const std::string& path) {
  if (agent_hash.empty()) return {};
  TRY(files::create_ledger(path));
  sys::UniqueFd file = TRY(sys::open(path, O_WRONLY));
  uint64_t size = static_cast<uint64_t>(TRY(sys::fstat(file.get())).st_size);
  return files::write_runs(source, image::kLedgerSpace, size, file.get()).in("the agent's ledger");
}

// From here on something may have to be undone when it fails.
Result<job::Family> start(const Plan& plan, MakerJob& maker, sys::UniqueFd theirs, int socket,
                          const RestartOptions& options) {
  job::FamilyPlan wanted = family_plan(plan, options);
  wanted.root_main = [&](int terminal) -> int { maker_main(maker, terminal); };
  job::Family family = TRY(job::start_family(wanted));
  theirs.reset();
  task::Deadlines deadlines(options.sleeps_file);
  Result<MakerReport> report = receive_report(socket, maker.report);
  Result<> done;
  if (!report.has_value()) {
    done = std::move(report).error();
  } else {
    Takeover takeover(plan, maker.source, maker.tables, *report, deadlines);
    done = takeover.run(family.root, [&] { return options.before_run(plan.job, family); });
  }
  if (!done.has_value()) {
    TRY(job::end_family(family));
    return std::move(done).error();
  }
  (void)deadlines.save();  // Hints for the next checkpoint, and the program runs by now.
  return family;
}

}  // namespace

Result<Restarted> restart(const RestartOptions& options) {
  std::unique_ptr<store::Reader> source = TRY(store::Reader::open(options.checkpoint));
  Plan plan = TRY(read_plan(*source));
  TRY(check_host(plan));
  files::HashCache hashes(options.state_directory + "/hashes");
  files::CheckOptions check = file_options(options);
  files::FilePlan file_plan = TRY(files::check_files(*source, hashes, check));

  sys::UniqueFd relay = TRY(relay_input(*source));
  auto [ours, theirs] = TRY(sys::message_pair());
  std::string ledger = options.job_directory + "/ledger";
  TRY(lay_out_ledger(*source, plan.job.agent_hash, ledger));
  sys::UniqueFd report_file = TRY(sys::anonymous_file("stint report"));
  fd::Tables tables = TRY(fd::read_tables(*source));
  MakerJob maker{plan,         *source,           tables,    file_plan, check, options.streams, ledger,
                 theirs.get(), report_file.get(), ours.get()};
  files::PutBackFiles files = TRY(files::put_back(file_plan, *source, check));
  Result<job::Family> family = start(plan, maker, std::move(theirs), ours.get(), options);
  if (!family.has_value()) {
    Result<> undone = files.undo();
    if (!undone.has_value()) return failed(fmt::format("{}; and: {}", family.error().text(), undone.error().text()));
    return std::move(family).error();
  }
  start_relay(relay);
  return Restarted{std::move(*family), plan.job, files.settle()};
}

}  // namespace stint::restore
