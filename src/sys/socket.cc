#include "sys/socket.h"

#include <unistd.h>

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

Result<Bytes> socket_option_bytes(int fd, int name) {
  Bytes value(256);
  socklen_t size = static_cast<socklen_t>(value.size());
  TRY(call("getsockopt", [&] { return ::getsockopt(fd, SOL_SOCKET, name, value.data(), &size); }));
  value.resize(size);
  return value;
}

Result<> set_socket_option_bytes(int fd, int name, ByteView value) {
  socklen_t size = static_cast<socklen_t>(value.size());
  TRY(call("setsockopt", [&] { return ::setsockopt(fd, SOL_SOCKET, name, value.data(), size); }));
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

Result<> listen(int fd, int backlog) {
  TRY(call("listen", [&] { return ::listen(fd, backlog); }));
  return {};
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

Result<Bytes> peek_stream(int fd) {
  Bytes bytes(static_cast<size_t>(TRY(bytes_queued(fd))));
  if (bytes.empty()) return bytes;
  long got = TRY(call("recv", [&] { return ::recv(fd, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT); }));
  if (static_cast<size_t>(got) != bytes.size())
    return failed("recv: what waits in the socket could not be seen at once");
  return bytes;
}

}  // namespace stint::sys
