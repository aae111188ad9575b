#include "sys/inet.h"

#include <linux/filter.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "sys/call.h"
#include "sys/raw_address.h"
#include "sys/socket.h"

namespace stint::sys {
Result<> bind(int fd, const InetAddress& address) {
  RawAddress raw = to_raw(address);
  TRY(call("bind", [&] { return ::bind(fd, raw.pointer(), raw.size); }));
  return {};
}

Result<bool> connect(int fd, const InetAddress& address) {
  RawAddress raw = to_raw(address);
  Result<long> done = call("connect", [&] { return ::connect(fd, raw.pointer(), raw.size); });
  if (done.has_value()) return true;
  if (done.error().os_errno() == EINPROGRESS) return false;
  return std::move(done).error();
}

Result<std::optional<UniqueFd>> accept_now(int fd) {
  Result<long> got = call("accept", [&] { return ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); });
  if (got.has_value()) return std::optional(UniqueFd(static_cast<int>(*got)));
  if (got.error().os_errno() == EAGAIN) return std::optional<UniqueFd>();
  return std::move(got).error();
}

Result<InetAddress> own_address(int fd) {
  RawAddress raw;
  TRY(call("getsockname", [&] { return ::getsockname(fd, raw.pointer(), &raw.size); }));
  return from_raw(raw);
}

Result<std::optional<InetAddress>> peer_address(int fd) {
  RawAddress raw;
  Result<long> got = call("getpeername", [&] { return ::getpeername(fd, raw.pointer(), &raw.size); });
  if (got.has_value()) return std::optional(TRY(from_raw(raw)));
  if (got.error().os_errno() == ENOTCONN) return std::optional<InetAddress>();
  return std::move(got).error();
}

Result<std::optional<Bytes>> option_bytes(int fd, int level, int name, size_t capacity) {
  Bytes value(capacity);
  socklen_t size = static_cast<socklen_t>(capacity);
  Result<long> got = call("getsockopt", [&] { return ::getsockopt(fd, level, name, value.data(), &size); });
  if (!got.has_value()) {
    int why = got.error().os_errno();
    if (why == ENOPROTOOPT || why == EOPNOTSUPP) return std::optional<Bytes>();
    return std::move(got).error();
  }
  value.resize(size);
  return std::optional(std::move(value));
}

Result<> set_option_bytes(int fd, int level, int name, ByteView value) {
  TRY(call("setsockopt",
           [&] { return ::setsockopt(fd, level, name, value.data(), static_cast<socklen_t>(value.size())); }));
  return {};
}

Result<int> option(int fd, int level, int name) {
  int value = 0;
  socklen_t size = sizeof(value);
  TRY(call("getsockopt", [&] { return ::getsockopt(fd, level, name, &value, &size); }));
  return value;
}

Result<> set_option(int fd, int level, int name, int value) {
  TRY(call("setsockopt", [&] { return ::setsockopt(fd, level, name, &value, sizeof(value)); }));
  return {};
}

Result<size_t> send_some(int fd, ByteView bytes) {
  Result<long> sent = call("send", [&] { return ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL); });
  if (sent.has_value()) return static_cast<size_t>(*sent);
  if (sent.error().os_errno() == EAGAIN) return size_t{0};
  return std::move(sent).error();
}

Result<int> bytes_unsent(int fd) {
  int count = 0;
  TRY(call("SIOCOUTQ", [&] { return ::ioctl(fd, SIOCOUTQ, &count); }));
  return count;
}

Result<> peek_byte(int fd) {
  char byte;
  TRY(call("recv", [&] { return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT); }));
  return {};
}

Result<> reset_on_close(int fd) {
  linger at_once{.l_onoff = 1, .l_linger = 0};
  TRY(call("SO_LINGER", [&] { return ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)); }));
  return {};
}

Result<TcpInfo> tcp_info(int fd) {
  struct tcp_info raw{};
  socklen_t size = sizeof(raw);
  TRY(call("TCP_INFO", [&] { return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &raw, &size); }));
  TcpInfo shown;
  shown.state = raw.tcpi_state;
  shown.acknowledged = raw.tcpi_bytes_acked, shown.received = raw.tcpi_bytes_received;
  shown.segments_received = raw.tcpi_segs_in;
  shown.not_sent = raw.tcpi_notsent_bytes;
  shown.ms_since_sent = raw.tcpi_last_data_sent;
  constexpr uint8_t kListen = 10;  // TCP_LISTEN: its header and that of tcp_info exclude one another.
  if (raw.tcpi_state == kListen) shown.waiting = raw.tcpi_unacked, shown.backlog = raw.tcpi_sacked;
  return shown;
}

Result<> choose_member(int fd, std::optional<uint32_t> number) {
  if (!number) return set_socket_option(fd, SO_DETACH_REUSEPORT_BPF, 0);
  std::array<sock_filter, 1> code = {{{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = *number}}};
  sock_fprog program{.len = code.size(), .filter = code.data()};
  TRY(call("SO_ATTACH_REUSEPORT_CBPF",
           [&] { return ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)); }));
  return {};
}

}  // namespace stint::sys
