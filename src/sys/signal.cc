#include "sys/signal.h"

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
