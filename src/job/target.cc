#include "job/target.h"

namespace stint::job {
namespace {

image::JobRecord job_record(const Job& job) {
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

}  // namespace

void take_over(Job& job, const image::JobRecord& record) {
  job.generation = record.generation;
  job.contained = record.contained;
  job.uid = record.uid, job.gid = record.gid;
  job.arguments = record.arguments;
  job.working_directory = record.directory;
  job.stand_ins = record.stand_ins;
  job.agent_hash = record.agent_hash;
}

Result<capture::Target> capture_target(const Job& job) {
  capture::Target target;
  target.root = job.root.pid;
  target.job = job_record(job);
  if (job.stand_in.pid.number != 0) target.stand_ins.push_back(job.stand_in.pid);
  for (int stream = 0; stream < 3; ++stream) {
    const Stream& given = job.streams[static_cast<size_t>(stream)];
    if (given.open && given.outside) target.outside_streams.push_back({stream, given.device, given.inode});
  }
  target.terminal_device = job.terminal_device;
  if (!job.agent_hash.empty()) target.ledger_file = job.directory + "/ledger";
  if (!job.directory.empty()) target.sleeps_file = job.directory + "/sleeps";
  target.hash_cache_file = TRY(state_directory()) + "/hashes";
  return target;
}

}  // namespace stint::job
