#include "job/terminal.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "sys/file.h"
#include "sys/poll.h"
#include "sys/process.h"

namespace stint::job {

Result<TerminalRelay> TerminalRelay::open(int fd) {
  TerminalRelay relay;
  relay.modes_ = TRY(sys::terminal_modes(fd));
  relay.size_ = TRY(sys::terminal_size(fd));
  Result<sys::UniqueFd> own = sys::open(fmt::format("/proc/self/fd/{}", fd), O_RDWR | O_NOCTTY | O_NONBLOCK);
  if (own) relay.own_ = *std::move(own);
  relay.user_ = relay.own_.valid() ? relay.own_.get() : fd;
  return relay;
}

void TerminalRelay::take() {
  if (taken_ || user_ < 0) return;
  // In the background tcsetattr would take the terminal away from whoever has it: SIGTTOU is blocked here.
  if (sys::foreground_group(user_) != sys::process_group()) return;
  Result<termios> now = sys::terminal_modes(user_);
  if (!now) return;
  modes_ = *now;
  if (sys::set_terminal_modes(user_, sys::raw_modes(modes_))) taken_ = true;
}

void TerminalRelay::give_back() {
  if (!taken_) return;
  taken_ = false;
  // A terminal that is gone has no modes to put back.
  if (!sys::set_terminal_modes(user_, modes_)) user_readable_ = false;
}

void TerminalRelay::follow_size() {
  Result<winsize> size = sys::terminal_size(user_);
  if (!size) return;
  size_ = *size;
  if (!sys::set_terminal_size(master_, size_)) job_open_ = false;
}

std::array<pollfd, 2> TerminalRelay::watched() const {
  short user = 0, job = 0;
  if (taken_ && user_readable_ && !keys_.full()) user |= POLLIN;
  if (user_writable_ && !output_.empty()) user |= POLLOUT;
  if (job_open_ && !output_.full()) job |= POLLIN;
  if (job_open_ && !keys_.empty()) job |= POLLOUT;
  // A descriptor with nothing to wait for would still wake us with POLLHUP, again and again.
  return {pollfd{user != 0 ? user_ : -1, user, 0}, pollfd{job != 0 ? master_ : -1, job, 0}};
}

bool TerminalRelay::fill(Queue& queue, int from, bool& open) {
  std::array<std::byte, 4096> buffer;
  Result<size_t> size = sys::read(from, buffer);
  if (!size && size.error().os_errno() == EAGAIN) return false;
  if (!size || *size == 0) {
    open = false;
    return false;
  }
  if (queue.empty()) queue = Queue{};
  queue.bytes.insert(queue.bytes.end(), buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(*size));
  return true;
}

void TerminalRelay::empty_into(Queue& queue, int to, bool& open) {
  if (queue.empty()) return;
  ByteView rest = ByteView(queue.bytes).subspan(queue.sent);
  Result<size_t> size = sys::write(to, rest.first(std::min<size_t>(rest.size(), 4096)));
  if (size) queue.sent += *size;
  if (!size && size.error().os_errno() != EAGAIN) open = false;
  // A terminal that is gone swallows everything: the job must not stand still for it.
  if (!open) queue = Queue{};
}

void TerminalRelay::relay(const std::array<pollfd, 2>& ready) {
  bool user_hung_up = (ready[0].revents & (POLLHUP | POLLERR)) != 0;
  if ((ready[0].revents & POLLIN) != 0 || user_hung_up) fill(keys_, user_, user_readable_);
  if ((ready[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) fill(output_, master_, job_open_);
  if ((ready[0].revents & POLLOUT) != 0 || user_hung_up) empty_into(output_, user_, user_writable_);
  if ((ready[1].revents & POLLOUT) != 0) empty_into(keys_, master_, job_open_);
  if (!user_writable_) output_ = Queue{};
}

void TerminalRelay::drain() {
  // Polling or reading the master makes the kernel hand over what is still under way from the slave.
  while (job_open_ && fill(output_, master_, job_open_)) {
    while (user_writable_ && !output_.empty()) {
      pollfd user = {user_, POLLOUT, 0};
      Result<bool> ready = sys::poll({&user, 1}, -1);
      if (!ready) return;
      empty_into(output_, user_, user_writable_);
    }
  }
  while (user_writable_ && !output_.empty()) {
    pollfd user = {user_, POLLOUT, 0};
    if (!sys::poll({&user, 1}, -1)) return;
    empty_into(output_, user_, user_writable_);
  }
}

}  // namespace stint::job
