// What waited in unix sockets is sent again: by the socket that is connected to them, or by one that has the name of
// the sender; by the process that the credentials name; with the descriptors that it carried, all of which are made.
#include <sys/socket.h>

#include <algorithm>

#include "fd/unix_making.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

using image::QueuedMessage;
using State = image::UnixSocketState;

class Refill {
 public:
  Refill(UnixSockets& sockets, const RestoreContext& context) : sockets_(sockets), context_(context) {}

  Result<> fill(UnixSocket& socket) {
    for (const QueuedMessage& message : socket.record.queued) TRY(send(socket, message));
    return {};
  }

 private:
  int number(const UnixSocket& socket) const { return context_.made.at(socket.record.description.id); }

  // The one that is connected to it, -1 for none: the other end of a stream or of a pair.
  int connected_sender(UnixSocket& socket, const QueuedMessage& message) {
    bool datagram = socket.record.type == SOCK_DGRAM;
    if (socket.other.valid()) {
      std::string name = socket.record.state == State::kPeerGone ? socket.record.peer_name : "";
      return !datagram || name == message.sender ? socket.other.get() : -1;
    }
    auto partner = sockets_.by_inode.find(socket.partner);
    if (partner == sockets_.by_inode.end() || partner->second.record.peer != socket.record.socket) return -1;
    return !datagram || partner->second.record.name == message.sender ? number(partner->second) : -1;
  }

  // Any datagram socket of the name. One that nobody in the job has any more is made for the occasion.
  Result<int> named_sender(const std::string& name) {
    for (const auto& [inode, socket] : sockets_.by_inode)
      if (!name.empty() && socket.record.type == SOCK_DGRAM && socket.record.name == name) return number(socket);
    auto [place, fresh] = strangers_.try_emplace(name);
    if (fresh) {
      place->second = TRY(sys::socket(AF_UNIX, SOCK_DGRAM, 0));
      TRY(bind_to(place->second.get(), name, {}));
    }
    return place->second.get();
  }

  Result<> send(UnixSocket& socket, const QueuedMessage& message) {
    std::string to;
    int from = connected_sender(socket, message);
    if (from < 0) {
      if (socket.record.type != SOCK_DGRAM || socket.record.name.empty())
        return damaged("unix socket record: a message that nobody can have sent");
      to = address(socket.record.name, socket.way);
      from = TRY(named_sender(message.sender));
    }
    TRY(make_room(from, message.bytes.size()));
    std::vector<int> descriptors = TRY(numbers(message));
    sys::OutgoingMessage outgoing{.bytes = message.bytes, .to = to, .descriptors = descriptors};
    if (message.credentials)
      outgoing.credentials = {message.credentials->pid, message.credentials->uid, message.credentials->gid};
    TRY(as_caller(message.credentials, [&]() -> Result<sys::MadeFds> {
          TRY(sys::send_unix(from, outgoing));
          return sys::MadeFds{-1, -1};
        }).in("messages that waited in a unix socket (see net.core.wmem_max)"));
    return {};
  }

  // finish() makes the buffer what it was.
  Result<> make_room(int from, size_t size) {
    constexpr size_t kOverhead = 4096, kMost = 1 << 30;
    size_t& needed = needed_[from];
    needed += size + kOverhead;
    int wanted = static_cast<int>(std::min(needed * 2, kMost));
    if (wanted > TRY(sys::socket_option(from, SO_SNDBUF))) TRY(sys::set_send_buffer(from, wanted));
    return {};
  }

  Result<std::vector<int>> numbers(const QueuedMessage& message) {
    constexpr size_t kMost = 253;
    if (message.descriptions.size() > kMost) return damaged("unix socket record: too many descriptors in a message");
    std::vector<int> numbers;
    for (uint64_t description : message.descriptions) {
      auto found = context_.made.find(description);
      if (found == context_.made.end()) return damaged("unix socket record: carries a description that is not there");
      numbers.push_back(found->second);
    }
    return numbers;
  }

  UnixSockets& sockets_;
  const RestoreContext& context_;
  std::map<std::string, sys::UniqueFd> strangers_;
  std::map<int, size_t> needed_;
};

}  // namespace

Result<> send_what_waited(UnixSockets& sockets, const RestoreContext& context) {
  Refill refill(sockets, context);
  for (auto& [inode, socket] : sockets.by_inode) TRY(refill.fill(socket));
  return {};
}

}  // namespace stint::fd
