// What the ELF file of a program, and the /proc of a process, tell about their chances.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "cli/doctor.h"
#include "elf/elf.h"
#include "fd/table.h"
#include "image/null_sink.h"
#include "job/launch.h"
#include "job/state.h"
#include "job/target.h"
#include "proc/process.h"
#include "sys/file.h"
#include "sys/process.h"
#include "sys/procfs.h"
#include "tracee/tree.h"

namespace stint::cli {
namespace {

constexpr int kDeepestScript = 5;  // as the kernel allows

void note(Findings& findings, std::string text) { findings.push_back({false, std::move(text)}); }
void refuse(Findings& findings, std::string text) { findings.push_back({true, std::move(text)}); }

void examine_elf(const std::string& path, const elf::Elf& program, Findings& findings) {
  switch (program.linkage) {
    case elf::Linkage::kStatic:
    case elf::Linkage::kStaticPie:
      note(findings, fmt::format("{} is {}: no agent can be in it. Not covered: what a file held before the program "
                                 "overwrote, replaced or removed it, and the names by which it opened files",
                                 path, elf::describe(program.linkage)));
      break;
    case elf::Linkage::kDynamic:
      if (!sys::stat(program.interpreter)) {
        refuse(findings,
               fmt::format("{} needs the interpreter {}, which is not here: it cannot run", path, program.interpreter));
      }
      break;
    case elf::Linkage::kSharedObject:
      refuse(findings, path + " is a shared library, not a program");
      break;
  }
  if (program.go())
    note(findings, path + " is a Go program: its runtime makes its system calls itself, unseen by the agent");
  if (program.executable_stack) note(findings, path + " asks for an executable stack: some kernels refuse that");
}

Result<> examine_file(const std::string& path, int depth, Findings& findings) {
  Bytes bytes = TRY(sys::read_file(path));
  elf::FileKind kind = elf::kind_of(bytes);
  if (kind == elf::FileKind::kElf64) {
    elf::Elf program = TRY(elf::parse({.bytes = bytes, .layout = elf::Layout::kFile, .base = 0}).in(path));
    examine_elf(path, program, findings);
    return {};
  }
  if (kind != elf::FileKind::kScript) {
    refuse(findings, fmt::format("{} is {}, and only 64-bit x86 programs are supported", path, elf::describe(kind)));
    return {};
  }
  std::optional<elf::Script> script = elf::parse_script(bytes);
  if (!script || depth == kDeepestScript) {
    refuse(findings, path + ": its first line names no interpreter that the kernel would run");
    return {};
  }
  note(findings, fmt::format("{} is a script: {} runs it", path, script->interpreter));
  if (!sys::stat(script->interpreter)) {
    refuse(findings, fmt::format("{}: its interpreter {} is not here", path, script->interpreter));
    return {};
  }
  return examine_file(script->interpreter, depth + 1, findings);
}

void examine_status(Pid pid, const proc::Status& status, Findings& findings) {
  if (status.tracer_pid != 0) {
    refuse(findings, fmt::format("process {} is being traced already, by process {}", pid.number, status.tracer_pid));
  }
  if (status.seccomp != 0) {
    refuse(findings,
           fmt::format("process {} runs under seccomp ({}): its filter cannot be read without privilege, so it "
                       "could not be put back",
                       pid.number, status.seccomp == 1 ? "strict" : "a filter"));
  }
  if (status.kernel_thread) refuse(findings, fmt::format("process {} is a part of the kernel", pid.number));
}

}  // namespace

Result<Findings> examine_program(const std::string& name) {
  Findings findings;
  Result<std::string> path = job::program_to_run(name);
  if (!path && path.error().kind() == ErrorKind::kRefused) {
    refuse(findings, path.error().text());
    return findings;
  }
  std::string found = TRY(std::move(path));
  TRY(examine_file(found, 0, findings));
  if (job::contained_by_default()) {
    note(findings,
         "it will run in namespaces of its own: other users' files show as nobody's, set-user-id programs that it "
         "starts gain nothing, processes outside are unseen");
  }
  return findings;
}

namespace {

// Everything that is open in the processes, each thing that stands in the way.
Result<> examine_descriptors(const std::vector<Pid>& processes, const capture::Target& target, Findings& findings) {
  std::vector<std::vector<fd::Facts>> tables;
  for (Pid pid : processes) {
    proc::Status status = TRY(proc::parse_status(TRY(sys::read_proc(pid, "status"))));
    examine_status(pid, status, findings);
    int job_pid = status.nspid.empty() ? pid.number : status.nspid.back();
    Result<std::vector<fd::Facts>> table = fd::look(pid, JobPid{job_pid});
    if (table)
      tables.push_back(*std::move(table));
    else
      refuse(findings, std::move(table).error().in(fmt::format("process {} cannot be looked into", pid.number)).text());
  }
  for (const Error& error : fd::refusals(tables, target.outside_streams, target.terminal_device))
    refuse(findings, error.text());
  return {};
}

// A checkpoint that keeps nothing: it meets all that a real one would, and ends at the first.
void rehearse(const capture::Target& target, Findings& findings) {
  image::NullSink sink;
  Result<capture::CheckpointReport> report = capture::checkpoint(target, {}, sink);
  if (report) return;
  std::string told = report.error().text();
  bool known = std::ranges::any_of(findings, [&](const Finding& finding) { return told.contains(finding.text); });
  if (!known) refuse(findings, told);
}

}  // namespace

Result<Findings> examine_process(Pid pid) {
  Findings findings;
  if (!sys::read_proc(pid, "status")) return usage(fmt::format("there is no process {}", pid.number));
  std::optional<job::Job> found = TRY(job::job_of_root(pid));
  sys::UniqueFd lock;
  if (found) lock = TRY(job::lock_job(found->directory, job::kLockPatience_ms));
  Result<job::Job> job = found ? *std::move(found) : job::look_at(pid);
  if (!job) {
    refuse(findings, job.error().text());
    return findings;
  }
  if (job->directory.empty())
    note(findings, fmt::format("process {} was not started by stint: no agent is in it, and it will be restarted in "
                               "namespaces of its own",
                               pid.number));
  capture::Target target = TRY(job::capture_target(*job));
  TRY(examine_descriptors(TRY(tracee::list_tree({target.root, target.stand_ins})), target, findings));
  rehearse(target, findings);
  return findings;
}

}  // namespace stint::cli
