#include "fd/unix_making.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include "fd/unix_socket_file.h"
#include "sys/network.h"
#include "sys/process.h"
#include "sys/socket.h"

namespace stint::fd {

using State = image::UnixSocketState;

Result<sys::MadeFds> as_caller(const std::optional<image::Credentials>& caller,
                               const std::function<Result<sys::MadeFds>()>& work) {
  bool ourselves = !caller || (caller->pid == sys::own_pid() && caller->uid == sys::effective_user() &&
                               caller->gid == sys::effective_group());
  if (ourselves) return work();
  // The kernel keeps the number, not the process. Of ourselves under another user finish() will say that it cannot be.
  sys::ChildRequest child{.number = caller->pid, .user = caller->uid, .group = caller->gid};
  if (caller->pid == sys::own_pid()) child.number = 0;
  Result<sys::MadeFds> made = sys::in_child(child, work);
  if (!made.has_value() && made.error().os_errno() == EEXIST)
    return std::move(made)
        .in(fmt::format("process {} had connected a unix socket, and its number is taken here", caller->pid))
        .as(ErrorKind::kUnfit);
  return made;
}

Result<std::pair<sys::UniqueFd, sys::UniqueFd>> make_socket_pair(int type,
                                                                 const std::optional<image::Credentials>& caller) {
  sys::MadeFds made = TRY(as_caller(caller, [&]() -> Result<sys::MadeFds> {
    auto [one, other] = TRY(sys::socket_pair(type));
    return sys::MadeFds{one.release(), other.release()};
  }));
  return std::pair(sys::UniqueFd(made[0]), sys::UniqueFd(made[1]));
}

Result<std::optional<SeenUnixSocket>> look_at_unix_socket(const Facts& facts) {
  std::optional<sys::UnixSocketState> state = TRY(sys::unix_socket_state(facts.stat.st_ino));
  if (state) return std::optional(SeenUnixSocket{*std::move(state), false});
  std::optional<sys::UniqueFd> network = TRY(sys::foreign_network(facts.ours.get(), facts.seen_as));
  if (!network) return std::optional<SeenUnixSocket>();
  state = TRY(sys::unix_socket_state(facts.stat.st_ino, network->get()));
  return state ? std::optional(SeenUnixSocket{*std::move(state), true}) : std::nullopt;
}

Result<sys::UniqueFd> bind_to(int fd, const std::string& name, const std::optional<image::SocketFile>& file) {
  if (name.empty()) return sys::UniqueFd();
  if (name.front() != '\0') return file ? bind_with_file(fd, name, *file) : bind_without_file(fd, name);
  Result<> bound = sys::bind_unix(fd, name);
  if (!bound.has_value() && bound.error().os_errno() == EADDRINUSE)
    return unfit(
        fmt::format("the abstract unix socket name @{} is another program's now: end that program", name.substr(1)));
  TRY(std::move(bound));
  return sys::UniqueFd();
}

std::string address(const std::string& name, const sys::UniqueFd& way) {
  return way.valid() ? fmt::format("/proc/self/fd/{}", way.get()) : name;
}

namespace {

// What the records say of each other, before anything is made by it.
Result<> check(const UnixSockets& sockets) {
  for (const auto& [inode, socket] : sockets.by_inode) {
    const image::UnixSocketRecord& record = socket.record;
    if (record.type != SOCK_STREAM && record.type != SOCK_DGRAM && record.type != SOCK_SEQPACKET)
      return damaged("unix socket record: no such type");
    auto peer = sockets.by_inode.find(record.peer);
    if (record.state == State::kConnected) {
      if (peer == sockets.by_inode.end() || peer->second.record.type != record.type)
        return damaged("unix socket record: its peer is not there");
      if (record.type != SOCK_DGRAM && peer->second.record.peer != inode)
        return damaged("unix socket record: its peer has another one");
    }
    for (uint64_t client : record.waiting) {
      auto found = sockets.by_inode.find(client);
      if (found == sockets.by_inode.end() || found->second.record.state != State::kWaits)
        return damaged("unix socket record: a connection that waits is not there");
    }
  }
  return {};
}

Result<std::shared_ptr<UnixSockets>> make_all(const image::Source& source) {
  std::shared_ptr<UnixSockets> sockets = std::make_shared<UnixSockets>();
  for (const image::Record& record : source.records()) {
    if (record.type != image::RecordType::kUnixSocket) continue;
    UnixSocket socket;
    socket.record = TRY(image::decode<image::UnixSocketRecord>(record.payload));
    uint64_t inode = socket.record.socket;
    if (!sockets->by_inode.emplace(inode, std::move(socket)).second)
      return damaged("unix socket record: a socket is there twice");
  }
  TRY(check(*sockets));
  TRY(make_streams(*sockets));
  TRY(make_datagrams(*sockets));
  return sockets;
}

}  // namespace

Result<sys::UniqueFd> take_unix_socket(uint64_t inode, RestoreContext& context) {
  if (!context.unix_sockets) context.unix_sockets = TRY(make_all(context.source));
  UnixSocket& socket = context.unix_sockets->by_inode.at(inode);
  if (!socket.fd.valid()) return damaged("unix socket record: a connection that waits in no listener");
  return std::move(socket.fd);
}

Result<> settle_unix_sockets(RestoreContext& context) {
  CHECK(context.unix_sockets != nullptr);
  UnixSockets& sockets = *context.unix_sockets;
  if (sockets.settled) return {};
  sockets.settled = true;
  TRY(send_what_waited(sockets, context));
  TRY(connect_datagrams(sockets, context));
  for (auto& [inode, socket] : sockets.by_inode) {
    std::byte unread{};
    if (socket.record.reset && socket.other.valid())
      TRY(sys::send_now(context.made.at(socket.record.description.id), {&unread, 1}));
    socket.other.reset();
    socket.way.reset();
  }
  return {};
}

}  // namespace stint::fd
