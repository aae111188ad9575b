// sock_diag(7) for one unix socket, by its inode number.
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>

#include <cstring>

#include "sys/call.h"
#include "sys/network.h"
#include "sys/socket.h"
#include "sys/unix_socket.h"

namespace stint::sys {
namespace {

constexpr size_t kAnswerSize = 32 << 10;  // the kernel itself stops at a page
constexpr int kListens = 10;              // TCP_LISTEN, for all families

struct DiagRequest {
  nlmsghdr header;
  unix_diag_req request;
};

void read_attribute(uint16_t type, ByteView value, UnixSocketState& state) {
  auto number = [&](size_t at) {
    uint32_t read = 0;
    if (at + sizeof(read) <= value.size()) std::memcpy(&read, value.data() + at, sizeof(read));
    return read;
  };
  switch (type) {
    case UNIX_DIAG_PEER:
      state.has_peer = true;
      state.peer = number(0);
      return;
    case UNIX_DIAG_SHUTDOWN:
      if (value.empty()) return;
      state.read_shut = (static_cast<uint8_t>(value[0]) & 1) != 0;  // RCV_SHUTDOWN, SEND_SHUTDOWN of the kernel
      state.write_shut = (static_cast<uint8_t>(value[0]) & 2) != 0;
      return;
    case UNIX_DIAG_VFS:
      state.file = number(offsetof(unix_diag_vfs, udiag_vfs_ino));
      return;
    case UNIX_DIAG_ICONS:
      for (size_t at = 0; at + sizeof(uint32_t) <= value.size(); at += sizeof(uint32_t))
        state.waiting.push_back(number(at));
      return;
    case UNIX_DIAG_RQLEN:
      state.backlog = number(offsetof(unix_diag_rqlen, udiag_wqueue));
      return;
    default:
      return;
  }
}

UnixSocketState read_state(const nlmsghdr& header) {
  UnixSocketState state;
  state.listens = static_cast<const unix_diag_msg*>(NLMSG_DATA(&header))->udiag_state == kListens;
  const std::byte* start = reinterpret_cast<const std::byte*>(&header);
  size_t at = NLMSG_LENGTH(0) + NLMSG_ALIGN(sizeof(unix_diag_msg));
  while (at + sizeof(nlattr) <= header.nlmsg_len) {
    nlattr attribute;
    std::memcpy(&attribute, start + at, sizeof(attribute));
    if (attribute.nla_len < sizeof(nlattr) || at + attribute.nla_len > header.nlmsg_len) break;
    read_attribute(attribute.nla_type, {start + at + NLA_HDRLEN, attribute.nla_len - static_cast<size_t>(NLA_HDRLEN)},
                   state);
    at += NLA_ALIGN(attribute.nla_len);
  }
  return state;
}

}  // namespace

Result<std::optional<UnixSocketState>> unix_socket_state(uint64_t inode, int network) {
  UniqueFd netlink = TRY(network < 0 ? sys::socket(AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG)
                                     : socket_in(network, AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG));
  DiagRequest ask{};
  ask.header = {.nlmsg_len = sizeof(ask),
                .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                .nlmsg_flags = NLM_F_REQUEST,
                .nlmsg_seq = 1,
                .nlmsg_pid = 0};
  ask.request.sdiag_family = AF_UNIX;
  ask.request.udiag_states = ~0u;
  ask.request.udiag_ino = static_cast<uint32_t>(inode);
  ask.request.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_VFS | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN;
  ask.request.udiag_cookie[0] = ask.request.udiag_cookie[1] = ~0u;
  TRY(call("send", [&] { return ::send(netlink.get(), &ask, sizeof(ask), 0); }).in("sock_diag"));
  Bytes answer(kAnswerSize);
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

}  // namespace stint::sys
