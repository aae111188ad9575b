#include "task/rare_state.h"

#include <fmt/format.h>
#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <sys/syscall.h>

#include "sys/file.h"
#include "sys/procfs.h"
#include "sys/ptrace.h"
#include "tracee/table.h"

namespace stint::task {
namespace {

constexpr uint64_t kGetMemoryMerge = 68, kGetMdwe = 66, kArchGetCpuid = 0x1011;  // newer than libc's headers
constexpr int64_t kSpecOwn = 1;                // PR_SPEC_PRCTL: it is the thread's own to choose
constexpr int64_t kSpecDisabled = 4 | 8 | 16;  // PR_SPEC_DISABLE, PR_SPEC_FORCE_DISABLE, PR_SPEC_DISABLE_NOEXEC
constexpr int kTscFaults = 2;                  // PR_TSC_SIGSEGV

class Questions {
 public:
  explicit Questions(tracee::Hands& hands) : table_(hands) {}

  Result<> ask(tracee::StoppedProcess& process, tracee::Thread& thread) {
    ldt_ = table_.ask(SYS_modify_ldt, {0, table_.room(16), 16});
    tsc_ = table_.out<int>();
    table_.ask(SYS_prctl, {PR_GET_TSC, tsc_});
    cpuid_ = table_.ask(SYS_arch_prctl, {kArchGetCpuid});
    merge_ = table_.ask(SYS_prctl, {kGetMemoryMerge});
    mdwe_ = table_.ask(SYS_prctl, {kGetMdwe});
    flusher_ = table_.ask(SYS_prctl, {PR_GET_IO_FLUSHER});
    store_ = table_.ask(SYS_prctl, {PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS});
    branch_ = table_.ask(SYS_prctl, {PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH});
    thread_keys_ = ask_for_keyring(KEY_SPEC_THREAD_KEYRING);
    process_keys_ = ask_for_keyring(KEY_SPEC_PROCESS_KEYRING);
    return table_.run(thread, process.seen_as());
  }

  Result<> judge() const {
    if (value(ldt_) > 0) return refused("it has segments of its own (modify_ldt), which cannot be put back");
    if (table_.value<int>(tsc_) == kTscFaults) return refused("it may not read the time stamp counter (PR_SET_TSC)");
    if (value(cpuid_) == 0) return refused("the CPUID instruction faults in it (ARCH_SET_CPUID)");
    if (value(merge_) > 0)
      return refused("its memory is merged with equal memory (PR_SET_MEMORY_MERGE): switch it off");
    if (value(mdwe_) > 0)
      return refused("it may not make memory executable (PR_SET_MDWE), which would bind the restart, too");
    if (value(flusher_) > 0) return refused("it serves a file system or a disk of this machine (PR_SET_IO_FLUSHER)");
    if (is_restrained(store_) || is_restrained(branch_))
      return refused("its speculation is restrained (PR_SET_SPECULATION_CTRL): run it without");
    if (value(thread_keys_) > 0 || value(process_keys_) > 0)
      return refused(
          "it has a keyring of its own (keyctl), whose keys cannot be read: use the user's or the session's");
    return {};
  }

 private:
  int64_t value(size_t call) const { return table_.result(call); }
  bool is_restrained(size_t call) const {
    return value(call) > 0 && (value(call) & kSpecOwn) != 0 && (value(call) & kSpecDisabled) != 0;
  }
  size_t ask_for_keyring(int which) {
    return table_.ask(SYS_keyctl, {KEYCTL_GET_KEYRING_ID, static_cast<uint64_t>(static_cast<int64_t>(which)), 0});
  }

  tracee::Table table_;
  uint64_t tsc_ = 0;
  size_t ldt_ = 0, cpuid_ = 0, merge_ = 0, mdwe_ = 0, flusher_ = 0, store_ = 0, branch_ = 0;
  size_t thread_keys_ = 0, process_keys_ = 0;
};

// Pid{0}: ours. Empty: this kernel has no such namespaces.
std::string namespace_of(Pid process, const std::string& kind) {
  return sys::readlink(sys::proc_path(process, "ns/" + kind)).value_or("");
}

Error in_another(const std::string& what) {
  return refused(
      fmt::format("it is in another {} namespace than the job: start the job inside that, or without it", what));
}

}  // namespace

Result<> check_system_calls_arrive(const tracee::Thread& thread) {
  if (!sys::dispatches_system_calls(thread.tid)) return {};
  return refused(fmt::format(
      "its thread {} gets its system calls back as signals (PR_SET_SYSCALL_USER_DISPATCH), which cannot be put back",
      thread.tid.number));
}

Result<> check_rare_state(tracee::StoppedProcess& process, tracee::Thread& thread, tracee::Hands& hands) {
  Questions questions(hands);
  TRY(questions.ask(process, thread));
  return questions.judge();
}

JobNamespaces::JobNamespaces(Pid root) {
  for (const char* kind : {"net", "uts", "cgroup"}) wanted_.emplace_back(kind, namespace_of(Pid{0}, kind));
  for (const char* kind : {"user", "mnt", "ipc", "pid", "time"}) wanted_.emplace_back(kind, namespace_of(root, kind));
}

Result<> JobNamespaces::check(Pid process) const {
  for (const auto& [kind, wanted] : wanted_) {
    std::string its = namespace_of(process, kind);
    if (its.empty() && !wanted.empty()) return os_error("readlink", ESRCH);  // Killed just now.
    if (its != wanted) return in_another(kind);
    bool of_children = kind == "pid" || kind == "time";
    if (of_children && namespace_of(process, kind + "_for_children") != its)
      return refused(fmt::format("its children will be in another {} namespace than itself (unshare)", kind));
  }
  return {};
}

}  // namespace stint::task
