#include "net/tcp_queue.h"

#include <fmt/format.h>
#include <linux/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>

#include "sys/clock.h"
#include "sys/descriptor.h"
#include "sys/inet.h"
#include "sys/poll.h"
#include "sys/socket.h"

namespace stint::net {
namespace {

// A sender that met a closed window asks again after 200 ms, then after twice as long, and so on.
constexpr int64_t kPatienceMs = 3000;
// The kernel counts the memory of the pieces, not the bytes in them.
constexpr uint64_t kSlack = 256 << 10;

// Sends what is held back by Nagle's algorithm, by TCP_CORK or by MSG_MORE.
Result<> push(int from) {
  int cork = TRY(sys::option(from, IPPROTO_TCP, TCP_CORK)), at_once = TRY(sys::option(from, IPPROTO_TCP, TCP_NODELAY));
  TRY(sys::set_option(from, IPPROTO_TCP, TCP_CORK, 0));
  TRY(sys::set_option(from, IPPROTO_TCP, TCP_NODELAY, 1));
  TRY(sys::set_option(from, IPPROTO_TCP, TCP_NODELAY, at_once));
  return sys::set_option(from, IPPROTO_TCP, TCP_CORK, cork);
}

// Sends an acknowledgement that is delayed, and tells of the window.
Result<> acknowledge(int to) {
  int before = TRY(sys::option(to, IPPROTO_TCP, TCP_QUICKACK));
  TRY(sys::set_option(to, IPPROTO_TCP, TCP_QUICKACK, 1));
  return sys::set_option(to, IPPROTO_TCP, TCP_QUICKACK, before);
}

// A read of one byte, which stays: the kernel then looks whether the window has grown.
Result<> look_at_window(int to) {
  int before = TRY(sys::socket_option(to, SO_PEEK_OFF));
  if (before >= 0) TRY(sys::set_socket_option(to, SO_PEEK_OFF, -1));
  (void)sys::peek_byte(to);  // Nothing there, or an error that waits: no matter.
  if (before >= 0) TRY(sys::set_socket_option(to, SO_PEEK_OFF, before));
  return {};
}

// A receiver whose window is opened wider than it has asked for, as long as this lives.
class WideWindow {
 public:
  // Nothing when its buffer could not be put back afterwards: it was set with privileges that we do not have.
  static Result<std::optional<WideWindow>> open(int to) {
    int locks = TRY(sys::socket_option(to, SO_BUF_LOCK)), buffer = TRY(sys::socket_option(to, SO_RCVBUF));
    WideWindow window(to, locks, buffer);
    if (!window.locked()) return std::optional(window);
    if (TRY(sys::set_receive_buffer(to, buffer)) != buffer) return std::optional<WideWindow>();
    TRY(sys::set_socket_option(to, SO_BUF_LOCK, locks & SOCK_SNDBUF_LOCK));
    return std::optional(window);
  }
  Result<> widen(int bytes) {
    int before = TRY(sys::socket_option(to_, SO_RCVLOWAT));
    TRY(sys::set_socket_option(to_, SO_RCVLOWAT, bytes));
    return sys::set_socket_option(to_, SO_RCVLOWAT, before);
  }
  Result<> close() {
    if (!locked()) return {};
    TRY(sys::set_receive_buffer(to_, buffer_));
    return sys::set_socket_option(to_, SO_BUF_LOCK, locks_);
  }

 private:
  WideWindow(int to, int locks, int buffer) : to_(to), locks_(locks), buffer_(buffer) {}
  bool locked() const { return (locks_ & SOCK_RCVBUF_LOCK) != 0; }
  int to_, locks_, buffer_;
};

Result<bool> deliver_through(WideWindow& window, const Unsent& unsent, int to) {
  for (int64_t start = sys::monotonic_ms(); sys::monotonic_ms() - start < kPatienceMs;) {
    uint64_t left = TRY(unsent());
    if (left == 0) return true;
    uint64_t wanted = 2 * (left + static_cast<uint64_t>(TRY(sys::bytes_queued(to)))) + kSlack;
    TRY(window.widen(static_cast<int>(std::min<uint64_t>(wanted, INT32_MAX))));
    TRY(look_at_window(to));
    TRY(acknowledge(to));
    if (TRY(unsent()) == left) TRY(sys::poll({}, 1));
  }
  return false;
}

}  // namespace

Unsent unsent_of(int from) {
  return [from]() -> Result<uint64_t> { return static_cast<uint64_t>(TRY(sys::bytes_unsent(from))); };
}

Result<bool> deliver(int from, const Unsent& unsent, int to) {
  if (TRY(unsent()) == 0) return true;
  if (from >= 0) TRY(push(from));
  TRY(acknowledge(to));
  if (TRY(unsent()) == 0) return true;
  std::optional<WideWindow> window = TRY(WideWindow::open(to));
  if (!window) return false;
  Result<bool> done = deliver_through(*window, unsent, to);
  TRY(window->close());
  return done;
}

Result<Bytes> peek_queue(int fd) {
  int before = TRY(sys::socket_option(fd, SO_PEEK_OFF));
  if (before >= 0) TRY(sys::set_socket_option(fd, SO_PEEK_OFF, -1));
  Result<Bytes> bytes = sys::peek_stream(fd);
  if (before >= 0) TRY(sys::set_socket_option(fd, SO_PEEK_OFF, before));
  return bytes;
}

Result<> fill_queue(int from, int to, ByteView bytes) {
  size_t expected = static_cast<size_t>(TRY(sys::bytes_queued(to))) + bytes.size();
  while (!bytes.empty()) {
    size_t taken = TRY(sys::send_some(from, bytes));
    bytes = bytes.subspan(taken);
    if (taken != 0) continue;
    uint64_t before = TRY(sys::bytes_unsent(from));
    bool all = TRY(deliver(from, unsent_of(from), to));
    if (!all && static_cast<uint64_t>(TRY(sys::bytes_unsent(from))) == before) break;
  }
  if (bytes.empty() && TRY(deliver(from, unsent_of(from), to)) &&
      static_cast<size_t>(TRY(sys::bytes_queued(to))) == expected)
    return {};
  return unfit(fmt::format("{} bytes that waited in the socket do not fit: raise net.ipv4.tcp_rmem", expected));
}

}  // namespace stint::net
