#include "sys/message.h"

#include <sys/socket.h>

#include <cstring>

#include "sys/call.h"

namespace stint::sys {

Result<std::pair<UniqueFd, UniqueFd>> message_pair() {
  int ends[2];
  TRY(call("socketpair", [&] { return ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends); }));
  std::pair<UniqueFd, UniqueFd> pair(UniqueFd{ends[0]}, UniqueFd{ends[1]});
  int on = 1;
  TRY(call("SO_PASSCRED", [&] { return ::setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)); }));
  return pair;
}

Result<> send_message(int socket, ByteView message) {
  TRY(call("send", [&] { return ::send(socket, message.data(), message.size(), MSG_NOSIGNAL); }));
  return {};
}

Result<std::optional<Message>> receive_message(int socket, std::span<std::byte> buffer, bool wait) {
  iovec place = {buffer.data(), buffer.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
  msghdr header = {};
  header.msg_iov = &place;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  int flags = MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT);
  Result<long> size = call("recvmsg", [&] { return ::recvmsg(socket, &header, flags); });
  if (!size && size.error().os_errno() == EAGAIN) return std::optional<Message>();
  // A peer that died with messages of ours unread shows as a reset; there is nobody left either way.
  if (!size && size.error().os_errno() == ECONNRESET) return std::optional<Message>(Message{});
  if (!size) return std::move(size).error();
  Message message{static_cast<size_t>(*size), 0};
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_CREDENTIALS) continue;
    ucred sender;
    std::memcpy(&sender, CMSG_DATA(part), sizeof(sender));
    message.sender = sender.pid;
  }
  return std::optional<Message>(message);
}

}  // namespace stint::sys
