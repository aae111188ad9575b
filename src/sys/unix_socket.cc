#include "sys/unix_socket.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "sys/call.h"
#include "sys/descriptor.h"
#include "sys/inode.h"
#include "sys/socket.h"

namespace stint::sys {
namespace {

// A path of full length comes back one byte longer than a sockaddr_un, with its NUL.
struct Address {
  explicit Address(std::string_view name = {}) {
    storage.ss_family = AF_UNIX;
    size_t length = std::min(name.size(), sizeof(sockaddr_un::sun_path));
    if (length != 0) std::memcpy(bytes(), name.data(), length);
    size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  }
  char* bytes() { return reinterpret_cast<char*>(&storage) + offsetof(sockaddr_un, sun_path); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  std::string name() {
    size_t before = offsetof(sockaddr_un, sun_path);
    if (size <= before) return {};
    return std::string(bytes(), std::min<size_t>(size, sizeof(storage)) - before);
  }
  sockaddr_storage storage{};
  socklen_t size = 0;
};

}  // namespace

Result<std::string> socket_name(int fd) {
  Address address;
  address.size = sizeof(address.storage);
  TRY(call("getsockname", [&] { return ::getsockname(fd, address.get(), &address.size); }));
  return address.name();
}

Result<std::string> peer_name(int fd) {
  Address address;
  address.size = sizeof(address.storage);
  Result<long> got = call("getpeername", [&] { return ::getpeername(fd, address.get(), &address.size); });
  if (!got.has_value() && got.error().os_errno() == ENOTCONN) return std::string();
  TRY(std::move(got));
  return address.name();
}

Result<> bind_unix(int fd, std::string_view name) {
  Address address(name);
  TRY(call("bind", [&] { return ::bind(fd, address.get(), address.size); }));
  return {};
}

Result<> connect_unix(int fd, std::string_view name) {
  Address address(name);
  int flags = TRY(status_flags(fd));
  TRY(set_status_flags(fd, flags | O_NONBLOCK));
  Result<long> connected = call("connect", [&] { return ::connect(fd, address.get(), address.size); });
  TRY(set_status_flags(fd, flags));
  TRY(std::move(connected));
  return {};
}

Result<> disconnect(int fd) {
  sockaddr nobody{.sa_family = AF_UNSPEC, .sa_data = {}};
  TRY(call("connect", [&] { return ::connect(fd, &nobody, sizeof(nobody)); }));
  return {};
}

Result<UniqueFd> accept(int fd) {
  return UniqueFd(
      static_cast<int>(TRY(call("accept4", [&] { return ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC); }))));
}

Result<std::optional<ucred>> peer_credentials(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  TRY(call("getsockopt", [&] { return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size); }));
  if (peer.pid == 0 && peer.uid == static_cast<uid_t>(-1)) return std::optional<ucred>();
  return std::optional(peer);
}

Result<int> bytes_sent_unread(int fd) {
  int bytes = 0;
  TRY(call("SIOCOUTQ", [&] { return ::ioctl(fd, SIOCOUTQ, &bytes); }));
  return bytes;
}

namespace {

constexpr size_t kPiece = 256 << 10;
constexpr size_t kMostDescriptors = 253;  // SCM_MAX_FD

struct Peeked {
  Bytes bytes;
  std::string sender;
  std::vector<UniqueFd> descriptors;
  std::optional<ucred> credentials;
  bool truncated = false;
};

void read_control(msghdr& message, Peeked& peeked) {
  constexpr int kPidfd = 4;  // SCM_PIDFD: of SO_PASSPIDFD
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr; control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level != SOL_SOCKET) continue;
    size_t size = control->cmsg_len - CMSG_LEN(0);
    if (control->cmsg_type == SCM_CREDENTIALS && size >= sizeof(ucred)) {
      ucred sender{};
      std::memcpy(&sender, CMSG_DATA(control), sizeof(sender));
      if (sender.pid != 0) peeked.credentials = sender;
    }
    if (control->cmsg_type != SCM_RIGHTS && control->cmsg_type != kPidfd) continue;
    for (size_t i = 0; i < size / sizeof(int); ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
      UniqueFd passed(fd);
      if (control->cmsg_type == SCM_RIGHTS) peeked.descriptors.push_back(std::move(passed));
    }
  }
}

// Nothing when nothing is there. Goes on at SO_PEEK_OFF, and moves it.
Result<std::optional<Peeked>> peek(int fd, size_t most) {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMostDescriptors * sizeof(int)) + 512> control;
  Peeked peeked;
  peeked.bytes.resize(most);
  Address sender;
  iovec vector{.iov_base = peeked.bytes.data(), .iov_len = most};
  msghdr message{};
  message.msg_name = sender.get(), message.msg_namelen = sizeof(sender.storage);
  message.msg_iov = &vector, message.msg_iovlen = 1;
  message.msg_control = control.data(), message.msg_controllen = control.size();
  Result<long> got =
      call("recvmsg", [&] { return ::recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC); });
  if (!got.has_value() && got.error().os_errno() == EAGAIN) return std::optional<Peeked>();
  peeked.bytes.resize(static_cast<size_t>(TRY(std::move(got))));
  sender.size = message.msg_namelen;
  peeked.sender = sender.name();
  read_control(message, peeked);
  if ((message.msg_flags & MSG_CTRUNC) != 0)
    return failed("recvmsg: too many descriptors wait in the socket (see ulimit -n)");
  peeked.truncated = (message.msg_flags & MSG_TRUNC) != 0;
  return std::optional(std::move(peeked));
}

UnixMessage message_of(Peeked peeked) {
  return {std::move(peeked.bytes), std::move(peeked.sender), std::move(peeked.descriptors), peeked.credentials};
}

bool same_sender(const std::optional<ucred>& a, const std::optional<ucred>& b) {
  if (!a || !b) return !a && !b;
  return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid;
}

// Memory that ends where nothing is mapped.
class EndOfMemory {
 public:
  static Result<EndOfMemory> make(size_t size) {
    size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    size_t usable = (size + page - 1) / page * page;
    void* start = ::mmap(nullptr, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return os_error("mmap");
    EndOfMemory memory(start, usable, page);
    TRY(call("mprotect", [&] { return ::mprotect(memory.end(), page, PROT_NONE); }));
    return memory;
  }
  EndOfMemory(EndOfMemory&& other) noexcept
      : start_(std::exchange(other.start_, nullptr)), usable_(other.usable_), page_(other.page_) {}
  EndOfMemory& operator=(EndOfMemory&&) = delete;
  ~EndOfMemory() {
    if (start_ != nullptr) ::munmap(start_, usable_ + page_);
  }
  std::byte* end() const { return static_cast<std::byte*>(start_) + usable_; }

 private:
  EndOfMemory(void* start, size_t usable, size_t page) : start_(start), usable_(usable), page_(page) {}
  void* start_;
  size_t usable_, page_;
};

// A peek goes as far as the end of the first piece with descriptors: where does that begin? It is copied piece by
// piece, so when there is one byte too little memory for all, what was copied is what lies before. (A peek that asks
// for less will not do: it brings the descriptors along all the same.)
Result<size_t> bytes_before_descriptors(int fd, size_t from, size_t size) {
  TRY(set_socket_option(fd, SO_PEEK_OFF, static_cast<int>(from)));
  EndOfMemory memory = TRY(EndOfMemory::make(size));
  iovec vector{.iov_base = memory.end() - (size - 1), .iov_len = size};
  msghdr message{};
  message.msg_iov = &vector, message.msg_iovlen = 1;
  Result<long> got = call("recvmsg", [&] { return ::recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT); });
  if (!got.has_value() && got.error().os_errno() == EFAULT) return size_t{0};
  size_t before = static_cast<size_t>(TRY(std::move(got)));
  if (before >= size) return failed("recvmsg: the descriptors in a stream cannot be told from the bytes before them");
  return before;
}

// An error that waits behind the bytes of a stream (ECONNRESET) goes to whoever reads beyond them: we do not.
Result<std::vector<UnixMessage>> peek_stream_pieces(int fd) {
  size_t total = static_cast<size_t>(TRY(bytes_queued(fd)));
  std::vector<UnixMessage> messages;
  for (size_t at = 0; at < total;) {
    TRY(set_socket_option(fd, SO_PEEK_OFF, static_cast<int>(at)));
    std::optional<Peeked> piece = TRY(peek(fd, total - at));
    if (!piece || piece->bytes.empty()) return messages;
    size_t before =
        piece->descriptors.empty() ? piece->bytes.size() : TRY(bytes_before_descriptors(fd, at, piece->bytes.size()));
    at += piece->bytes.size();
    UnixMessage whole = message_of(std::move(*piece));
    bool joins = !messages.empty() && messages.back().descriptors.empty() &&
                 same_sender(messages.back().credentials, whole.credentials);
    if (before > 0 && !joins) messages.push_back({{}, whole.sender, {}, whole.credentials});
    auto split = whole.bytes.begin() + static_cast<ptrdiff_t>(before);
    if (before > 0) messages.back().bytes.insert(messages.back().bytes.end(), whole.bytes.begin(), split);
    whole.bytes.erase(whole.bytes.begin(), split);
    if (!whole.descriptors.empty()) messages.push_back(std::move(whole));
  }
  return messages;
}

Result<std::vector<UnixMessage>> peek_packets(int fd, bool seqpacket, bool ended) {
  size_t left = seqpacket ? static_cast<size_t>(TRY(bytes_queued(fd))) : 0;
  std::vector<UnixMessage> messages;
  bool goes_on = false;
  while (true) {
    // At the end of a seqpacket connection there is a message of no bytes for ever.
    if (seqpacket && ended && left == 0) return messages;
    std::optional<Peeked> piece = TRY(peek(fd, kPiece));
    if (!piece) return messages;
    left -= std::min(left, piece->bytes.size());
    bool truncated = piece->truncated;
    if (goes_on) {
      messages.back().bytes.insert(messages.back().bytes.end(), piece->bytes.begin(), piece->bytes.end());
    } else {
      messages.push_back(message_of(std::move(*piece)));
    }
    // A message that did not fit shows its rest next.
    goes_on = truncated;
  }
}

}  // namespace

Result<std::vector<UnixMessage>> peek_messages(int fd, bool ended) {
  int type = TRY(socket_option(fd, SO_TYPE));
  int before = TRY(socket_option(fd, SO_PEEK_OFF));
  TRY(set_socket_option(fd, SO_PEEK_OFF, 0));
  Result<std::vector<UnixMessage>> messages =
      type == SOCK_STREAM ? peek_stream_pieces(fd) : peek_packets(fd, type == SOCK_SEQPACKET, ended);
  TRY(set_socket_option(fd, SO_PEEK_OFF, before));
  return messages;
}

namespace {

template <class T>
void add_control(msghdr& message, size_t& used, int type, std::span<const T> values) {
  cmsghdr* header = reinterpret_cast<cmsghdr*>(static_cast<std::byte*>(message.msg_control) + used);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = type;
  header->cmsg_len = CMSG_LEN(values.size_bytes());
  std::memcpy(CMSG_DATA(header), values.data(), values.size_bytes());
  used += CMSG_SPACE(values.size_bytes());
}

}  // namespace

Result<> send_unix(int fd, const OutgoingMessage& outgoing) {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMostDescriptors * sizeof(int)) + CMSG_SPACE(sizeof(ucred))>
      control{};
  CHECK(outgoing.descriptors.size() <= kMostDescriptors);
  iovec vector{.iov_base = const_cast<std::byte*>(outgoing.bytes.data()), .iov_len = outgoing.bytes.size()};
  Address to(outgoing.to);
  msghdr message{};
  message.msg_iov = &vector, message.msg_iovlen = 1;
  message.msg_control = control.data();
  if (!outgoing.to.empty()) message.msg_name = to.get(), message.msg_namelen = to.size;
  size_t used = 0;
  if (outgoing.credentials) add_control(message, used, SCM_CREDENTIALS, std::span(&*outgoing.credentials, 1));
  if (!outgoing.descriptors.empty()) add_control(message, used, SCM_RIGHTS, outgoing.descriptors);
  message.msg_controllen = used;
  if (used == 0) message.msg_control = nullptr;
  long sent = TRY(call("sendmsg", [&] { return ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL); }));
  if (static_cast<size_t>(sent) != outgoing.bytes.size())
    return failed("sendmsg: the socket took a part of the message only");
  return {};
}

}  // namespace stint::sys
