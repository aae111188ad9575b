#include "fd/socket_options.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include "sys/socket.h"

namespace stint::fd {
namespace {

// Newer than libc's headers; a kernel that does not know one says ENOPROTOOPT.
constexpr int kPassPidfd = 76, kReceivePriority = 82, kPassRights = 83, kInq = 84;

// What getsockopt(2) gives and setsockopt(2) takes in the same form.
constexpr int kOptions[] = {
    SO_REUSEADDR,       SO_REUSEPORT, SO_KEEPALIVE, SO_BROADCAST,   SO_OOBINLINE,
    SO_LINGER,          SO_PRIORITY,  SO_MARK,      SO_DONTROUTE,   SO_RCVLOWAT,
    SO_RCVTIMEO,        SO_SNDTIMEO,  SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMP_NEW,
    SO_TIMESTAMPNS_NEW, SO_RXQ_OVFL,  SO_NO_CHECK,  SO_BUSY_POLL,   SO_SELECT_ERR_QUEUE,
    SO_PASSCRED,        SO_PASSSEC,   SO_PEEK_OFF,  kPassPidfd,     kReceivePriority,
    kPassRights,        kInq,
};

// Nothing where sockets of this family do not have it.
Result<std::optional<Bytes>> read_option(int fd, int name) {
  Result<Bytes> value = sys::socket_option_bytes(fd, name);
  if (value.has_value()) return std::optional(std::move(*value));
  int error = value.error().os_errno();
  if (error == ENOPROTOOPT || error == EOPNOTSUPP || error == EINVAL) return std::optional<Bytes>();
  return std::move(value).error();
}

}  // namespace

Result<std::vector<image::SocketOption>> changed_options(int fd, int fresh) {
  std::vector<image::SocketOption> changed;
  for (int name : kOptions) {
    std::optional<Bytes> value = TRY(read_option(fd, name));
    if (!value || value == TRY(read_option(fresh, name))) continue;
    changed.push_back({.name = name, .value = std::move(*value)});
  }
  return changed;
}

Result<> set_options(int fd, const std::vector<image::SocketOption>& options) {
  for (const image::SocketOption& option : options)
    TRY(sys::set_socket_option_bytes(fd, option.name, option.value)
            .in(fmt::format("socket option {}", option.name))
            .as(ErrorKind::kUnfit));
  return {};
}

Result<> set_buffer_sizes(int fd, int send, int receive) {
  if (TRY(sys::socket_option(fd, SO_SNDBUF)) != send && TRY(sys::set_send_buffer(fd, send)) != send)
    return unfit(fmt::format("a send buffer of {} bytes: raise net.core.wmem_max", send));
  if (TRY(sys::socket_option(fd, SO_RCVBUF)) != receive && TRY(sys::set_receive_buffer(fd, receive)) != receive)
    return unfit(fmt::format("a receive buffer of {} bytes: raise net.core.rmem_max", receive));
  return {};
}

}  // namespace stint::fd
