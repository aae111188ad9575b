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

Result<> send_message(int socket, ByteView message, int descriptor) {
  iovec text = {const_cast<std::byte*>(message.data()), message.size()};
  msghdr header = {};
  header.msg_iov = &text;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (descriptor >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    cmsghdr* part = CMSG_FIRSTHDR(&header);
    *part = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    std::memcpy(CMSG_DATA(part), &descriptor, sizeof(int));
  }
  TRY(call("sendmsg", [&] { return ::sendmsg(socket, &header, MSG_NOSIGNAL); }));
  return {};
}

Result<std::optional<Message>> receive_message(int socket, std::span<std::byte> buffer, bool wait) {
  iovec place = {buffer.data(), buffer.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int))];
  msghdr header = {};
  header.msg_iov = &place;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  int flags = MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT);
  Result<long> size = call("recvmsg", [&] { return ::recvmsg(socket, &header, flags); });
  if (!size && size.error().os_errno() == EAGAIN) return std::optional<Message>();
  // A peer that died with messages of ours unread shows as a reset; there is nobody left either way.
  if (!size && size.error().os_errno() == ECONNRESET) return std::make_optional<Message>();
  if (!size) return std::move(size).error();
  Message message;
  message.size = static_cast<size_t>(*size);
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET) continue;
    if (part->cmsg_type == SCM_CREDENTIALS) {
      ucred sender;
      std::memcpy(&sender, CMSG_DATA(part), sizeof(sender));
      message.sender = sender.pid;
    }
    if (part->cmsg_type == SCM_RIGHTS) {
      int descriptor;
      std::memcpy(&descriptor, CMSG_DATA(part), sizeof(descriptor));
      message.descriptor = UniqueFd(descriptor);
    }
  }
  return std::optional<Message>(std::move(message));
}

}  // namespace stint::sys
