#include "sys/socket_filter.h"

#include <linux/filter.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <span>
#include <vector>

#include "sys/call.h"
#include "sys/socket.h"

namespace stint::sys {

Result<std::optional<Bytes>> socket_filter(int fd) {
  socklen_t count = 0;  // of instructions, here and below
  Result<long> asked =
      call("SO_GET_FILTER", [&] { return ::getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &count); });
  if (!asked.has_value() && asked.error().os_errno() == EACCES) return std::optional<Bytes>();
  TRY(std::move(asked));
  Bytes instructions(count * sizeof(sock_filter));
  if (count > 0)
    TRY(call("SO_GET_FILTER",
             [&] { return ::getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, instructions.data(), &count); }));
  return std::optional(std::move(instructions));
}

Result<> set_socket_filter(int fd, ByteView instructions) {
  if (instructions.empty()) {
    Result<> detached = set_socket_option(fd, SO_DETACH_FILTER, 0);
    if (!detached.has_value() && detached.error().os_errno() == ENOENT) return {};
    return detached;
  }
  std::vector<sock_filter> code(instructions.size() / sizeof(sock_filter));
  std::memcpy(code.data(), instructions.data(), code.size() * sizeof(sock_filter));
  sock_fprog program{.len = static_cast<unsigned short>(code.size()), .filter = code.data()};
  TRY(call("SO_ATTACH_FILTER",
           [&] { return ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)); }));
  return {};
}

Result<> drop_what_arrives(int fd) {
  sock_filter nothing{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0};
  return set_socket_filter(fd, std::as_bytes(std::span(&nothing, 1)));
}

Result<> let_arrive_from(int fd, uint16_t port) {
  // The filter of a UDP socket sees the datagram from its UDP header on, which begins with the port of the sender.
  const std::array<sock_filter, 4> code = {{
      {.code = BPF_LD | BPF_H | BPF_ABS, .jt = 0, .jf = 0, .k = 0},
      {.code = BPF_JMP | BPF_JEQ | BPF_K, .jt = 0, .jf = 1, .k = port},
      {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = UINT32_MAX},
      {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0},
  }};
  return set_socket_filter(fd, std::as_bytes(std::span(code)));
}

}  // namespace stint::sys
