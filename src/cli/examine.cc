// What the ELF file of a program, and the /proc of a process, tell about their chances.
#include <fcntl.h>
#include <fmt/format.h>

#include "cli/doctor.h"
#include "elf/elf.h"
#include "fd/table.h"
#include "job/launch.h"
#include "job/state.h"
#include "proc/process.h"
#include "sys/file.h"
#include "sys/process.h"
#include "sys/procfs.h"

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

Result<Findings> examine_process(Pid pid) {
  Findings findings;
  Result<std::string> text = sys::read_proc(pid, "status");
  if (!text) return usage(fmt::format("there is no process {}", pid.number));
  proc::Status status = TRY(proc::parse_status(*text));
  if (status.uids[0] != sys::effective_user() && sys::effective_user() != 0) {
    refuse(findings, fmt::format("process {} ({}) is another user's ({})", pid.number, status.name, status.uids[0]));
    return findings;
  }
  examine_status(pid, status, findings);
  std::optional<job::Job> job = TRY(job::job_of_root(pid));
  std::vector<fd::OutsideStream> streams;
  for (int stream = 0; job && stream < 3; ++stream) {
    const job::Stream& given = job->streams[static_cast<size_t>(stream)];
    if (given.open && given.outside) streams.push_back({stream, given.device, given.inode});
  }
  if (!job)
    note(findings, fmt::format("process {} was not started by stint: no agent is in it, and it will be restarted in "
                               "namespaces of its own",
                               pid.number));
  int job_pid = status.nspid.empty() ? pid.number : status.nspid.back();
  Result<std::vector<fd::Facts>> table = fd::look(pid, JobPid{job_pid});
  if (!table) {
    refuse(findings, std::move(table).error().in(fmt::format("process {} cannot be looked into", pid.number)).text());
    return findings;
  }
  for (const Error& error : fd::refusals({&*table, 1}, streams, job ? job->terminal_device : 0)) {
    refuse(findings, error.text());
  }
  return findings;
}

}  // namespace stint::cli
