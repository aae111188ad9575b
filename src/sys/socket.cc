#include "sys/socket.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "sys/call.h"
#include "sys/descriptor.h"

namespace stint::sys {

Result<UniqueFd> socket(int domain, int type, int protocol) {
  return UniqueFd(
      static_cast<int>(TRY(call("socket", [&] { return ::socket(domain, type | SOCK_CLOEXEC, protocol); }))));
}

Result<std::pair<UniqueFd, UniqueFd>> socket_pair(int type) {
  int ends[2];
  TRY(call("socketpair", [&] { return ::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends); }));
  return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

Result<int> socket_option(int fd, int name) {
  int value = 0;
  socklen_t size = sizeof(value);
  TRY(call("getsockopt", [&] { return ::getsockopt(fd, SOL_SOCKET, name, &value, &size); }));
  return value;
}

Result<> set_socket_option(int fd, int name, int value) {
  TRY(call("setsockopt", [&] { return ::setsockopt(fd, SOL_SOCKET, name, &value, sizeof(value)); }));
  return {};
}

Result<int64_t> socket_timeout_us(int fd, int name) {
  timeval value{};
  socklen_t size = sizeof(value);
  TRY(call("getsockopt", [&] { return ::getsockopt(fd, SOL_SOCKET, name, &value, &size); }));
  return value.tv_sec * int64_t{1'000'000} + value.tv_usec;
}

Result<> set_socket_timeout_us(int fd, int name, int64_t microseconds) {
  timeval value{.tv_sec = microseconds / 1'000'000, .tv_usec = microseconds % 1'000'000};
  TRY(call("setsockopt", [&] { return ::setsockopt(fd, SOL_SOCKET, name, &value, sizeof(value)); }));
  return {};
}

namespace {

Result<int> set_buffer(int fd, int option, int forced, int bytes) {
  if (!set_socket_option(fd, forced, bytes / 2).has_value()) TRY(set_socket_option(fd, option, bytes / 2));
  return socket_option(fd, option);
}

}  // namespace

Result<int> set_send_buffer(int fd, int bytes) { return set_buffer(fd, SO_SNDBUF, SO_SNDBUFFORCE, bytes); }
Result<int> set_receive_buffer(int fd, int bytes) { return set_buffer(fd, SO_RCVBUF, SO_RCVBUFFORCE, bytes); }

Result<bool> has_name(int fd) {
  sockaddr_storage name;
  socklen_t size = sizeof(name);
  TRY(call("getsockname", [&] { return ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size); }));
  return size > sizeof(sa_family_t);
}

Result<bool> peer_has_name(int fd) {
  sockaddr_storage name;
  socklen_t size = sizeof(name);
  Result<long> got = call("getpeername", [&] { return ::getpeername(fd, reinterpret_cast<sockaddr*>(&name), &size); });
  if (got.has_value()) return size > sizeof(sa_family_t);
  if (got.error().os_errno() == ENOTCONN) return false;
  return std::move(got).error();
}

Result<> shut_down(int fd, int how) {
  TRY(call("shutdown", [&] { return ::shutdown(fd, how); }));
  return {};
}

Result<> send_now(int fd, ByteView message) {
  long sent =
      TRY(call("send", [&] { return ::send(fd, message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL); }));
  if (static_cast<size_t>(sent) != message.size()) return failed("send: the socket took a part of the message only");
  return {};
}

namespace {

struct DiagRequest {
  nlmsghdr header;
  unix_diag_req request;
};

UnixSocketState read_state(const nlmsghdr& header) {
  UnixSocketState state;
  const std::byte* start = reinterpret_cast<const std::byte*>(&header);
  size_t at = NLMSG_LENGTH(0) + NLMSG_ALIGN(sizeof(unix_diag_msg));
  while (at + sizeof(nlattr) <= header.nlmsg_len) {
    nlattr attribute;
    std::memcpy(&attribute, start + at, sizeof(attribute));
    if (attribute.nla_len < sizeof(nlattr) || at + attribute.nla_len > header.nlmsg_len) break;
    const std::byte* value = start + at + NLA_HDRLEN;
    if (attribute.nla_type == UNIX_DIAG_PEER) {
      uint32_t peer = 0;
      std::memcpy(&peer, value, sizeof(peer));
      state.has_peer = true;
      state.peer = peer;
    } else if (attribute.nla_type == UNIX_DIAG_SHUTDOWN) {
      uint8_t shut = static_cast<uint8_t>(*value);
      state.read_shut = (shut & 1) != 0;  // RCV_SHUTDOWN, SEND_SHUTDOWN of the kernel
      state.write_shut = (shut & 2) != 0;
    }
    at += NLA_ALIGN(attribute.nla_len);
  }
  return state;
}

}  // namespace

Result<std::optional<UnixSocketState>> unix_socket_state(uint64_t inode) {
  UniqueFd netlink = TRY(sys::socket(AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG));
  DiagRequest ask{};
  ask.header = {.nlmsg_len = sizeof(ask),
                .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                .nlmsg_flags = NLM_F_REQUEST,
                .nlmsg_seq = 1,
                .nlmsg_pid = 0};
  ask.request.sdiag_family = AF_UNIX;
  ask.request.udiag_states = ~0u;
  ask.request.udiag_ino = static_cast<uint32_t>(inode);
  ask.request.udiag_show = UDIAG_SHOW_PEER;
  ask.request.udiag_cookie[0] = ask.request.udiag_cookie[1] = ~0u;
  TRY(call("send", [&] { return ::send(netlink.get(), &ask, sizeof(ask), 0); }).in("sock_diag"));
  alignas(nlmsghdr) std::array<std::byte, 4096> answer;
  long got = TRY(call("recv", [&] { return ::recv(netlink.get(), answer.data(), answer.size(), 0); }).in("sock_diag"));
  const nlmsghdr& header = *reinterpret_cast<const nlmsghdr*>(answer.data());
  if (!NLMSG_OK(&header, static_cast<size_t>(got))) return failed("sock_diag: an answer that is cut short");
  if (header.nlmsg_type == NLMSG_ERROR) {
    int code = -reinterpret_cast<const nlmsgerr*>(NLMSG_DATA(&header))->error;
    if (code == ENOENT) return std::optional<UnixSocketState>();
    return os_error("sock_diag (CONFIG_UNIX_DIAG)", code);
  }
  return std::optional(read_state(header));
}

namespace {

constexpr size_t kPiece = 256 << 10;

// Closes the duplicates that came along.
bool close_passed(msghdr& message) {
  bool any = false;
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr; control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    any = true;
    size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
      UniqueFd closes(fd);
    }
  }
  return any;
}

Result<std::vector<PeekedMessage>> peek_from_offset(int fd) {
  bool stream = TRY(socket_option(fd, SO_TYPE)) == SOCK_STREAM;
  bool datagram = TRY(socket_option(fd, SO_TYPE)) == SOCK_DGRAM;
  // An error that waits behind the bytes of a stream (ECONNRESET) goes to whoever reads beyond them.
  size_t left = stream ? static_cast<size_t>(TRY(bytes_queued(fd))) : 1;
  std::vector<PeekedMessage> messages;
  Bytes piece(kPiece);
  bool goes_on = false;
  while (left > 0) {
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(253 * sizeof(int)) + 256> control;
    iovec vector{.iov_base = piece.data(), .iov_len = piece.size()};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    Result<long> got =
        call("recvmsg", [&] { return ::recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC); });
    if (!got.has_value() && got.error().os_errno() == EAGAIN) return messages;
    size_t size = static_cast<size_t>(TRY(std::move(got)));
    bool passed = close_passed(message);
    if (size == 0 && !datagram) return messages;  // its end
    if (!goes_on) messages.emplace_back();
    messages.back().bytes.insert(messages.back().bytes.end(), piece.begin(), piece.begin() + static_cast<long>(size));
    messages.back().carries_descriptors |= passed;
    // A message that did not fit shows its rest next.
    goes_on = !stream && (message.msg_flags & MSG_TRUNC) != 0;
    if (stream) left -= std::min(left, size);
  }
  return messages;
}

}  // namespace

Result<std::vector<PeekedMessage>> peek_messages(int fd) {
  int before = TRY(socket_option(fd, SO_PEEK_OFF));
  TRY(set_socket_option(fd, SO_PEEK_OFF, 0));
  Result<std::vector<PeekedMessage>> messages = peek_from_offset(fd);
  TRY(set_socket_option(fd, SO_PEEK_OFF, before));
  return messages;
}

Result<Bytes> peek_stream(int fd) {
  Bytes bytes(static_cast<size_t>(TRY(bytes_queued(fd))));
  if (bytes.empty()) return bytes;
  long got = TRY(call("recv", [&] { return ::recv(fd, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT); }));
  if (static_cast<size_t>(got) != bytes.size())
    return failed("recv: what waits in the socket could not be seen at once");
  return bytes;
}

}  // namespace stint::sys
