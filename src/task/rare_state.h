// State that few programs have and that is not kept: it is looked for, and refused by name.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tracee/hands.h"
#include "tracee/stop.h"

namespace stint::task {

// Of a thread, before any call is made in it.
Result<> check_system_calls_arrive(const tracee::Thread& thread);

// Of a thread, asked in it.
Result<> check_rare_state(tracee::StoppedProcess& process, tracee::Thread& thread, tracee::Hands& hands);

// The namespaces in which a restart would put the job: those of its root, and where a job has none of its own, ours.
class JobNamespaces {
 public:
  explicit JobNamespaces(Pid root);
  // Whether the process is in all of them.
  Result<> check(Pid process) const;

 private:
  std::vector<std::pair<std::string, std::string>> wanted_;  // kind, and what its link in /proc/PID/ns leads to
};

}  // namespace stint::task
