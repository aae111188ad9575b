#include "sys/signal.h"

#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "sys/call.h"

namespace stint::sys {

Result<sigset_t> block_signals() {
  sigset_t all, before;
  sigfillset(&all);
  TRY(call("sigprocmask", [&] { return ::sigprocmask(SIG_SETMASK, &all, &before); }));
  return before;
}

Result<> set_signal_mask(const sigset_t& mask) {
  TRY(call("sigprocmask", [&] { return ::sigprocmask(SIG_SETMASK, &mask, nullptr); }));
  return {};
}

Result<> unblock_signals() {
  sigset_t none;
  sigemptyset(&none);
  return set_signal_mask(none);
}

Result<UniqueFd> signal_fd(const sigset_t& mask) {
  return UniqueFd(
      static_cast<int>(TRY(call("signalfd", [&] { return ::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK); }))));
}

Result<std::optional<TakenSignal>> take_signal(int signal_fd) {
  struct signalfd_siginfo taken;
  Result<long> size = call("read", [&] { return ::read(signal_fd, &taken, sizeof(taken)); });
  if (!size && size.error().os_errno() == EAGAIN) return std::optional<TakenSignal>();
  if (!size) return std::move(size).error().in("signalfd");
  return std::optional<TakenSignal>(
      TakenSignal{static_cast<int>(taken.ssi_signo), taken.ssi_code, static_cast<pid_t>(taken.ssi_pid)});
}

Result<> suffer(int signal, bool group) {
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  TRY(call("kill", [&] { return ::kill(group ? 0 : ::getpid(), signal); }));
  if (signal == SIGSTOP) return {};
  // Unblocking is what delivers it.
  TRY(call("sigprocmask", [&] { return ::sigprocmask(SIG_UNBLOCK, &only, nullptr); }));
  TRY(call("sigprocmask", [&] { return ::sigprocmask(SIG_BLOCK, &only, nullptr); }));
  return {};
}

Result<int> signal_number(const std::string& name) {
  std::string_view bare = name;
  if (bare.starts_with("SIG")) bare.remove_prefix(3);
  for (int signal = 1; signal < NSIG; ++signal) {
    const char* known = ::sigabbrev_np(signal);
    if ((known != nullptr && bare == known) || bare == std::to_string(signal)) return signal;
  }
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) {
    if (bare == "RTMIN+" + std::to_string(signal - SIGRTMIN) || (signal == SIGRTMIN && bare == "RTMIN")) return signal;
  }
  return usage("'" + name + "' is no signal");
}

std::string signal_name(int signal) {
  const char* known = ::sigabbrev_np(signal);
  if (known != nullptr) return std::string("SIG") + known;
  if (signal >= SIGRTMIN && signal <= SIGRTMAX) return "SIGRTMIN+" + std::to_string(signal - SIGRTMIN);
  return "signal " + std::to_string(signal);
}

bool is_ignored(int signal) {
  struct sigaction now = {};
  return ::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

Result<> set_ignored(int signal, bool ignored) {
  struct sigaction action = {};
  action.sa_handler = ignored ? SIG_IGN : SIG_DFL;
  TRY(call("sigaction", [&] { return ::sigaction(signal, &action, nullptr); }));
  return {};
}

}  // namespace stint::sys
