// A unix socket that has no name: one end of a socketpair(2) within the job, or one that was never connected. sock_diag
// tells who its peer is (by inode number, 0 once that is closed) and which directions are shut; SO_PEEK_OFF shows what
// waits in it without taking it. Of a pair both queues are filled before anything is shut down or shrunk (finish).
//
// A peer that went with unread data leaves ECONNRESET for the next call: poll(2) shows it as POLLERR, and it comes back
// by making a peer go the same way. Not kept: who sent a waiting message, when it was another process of the job
// (SCM_CREDENTIALS shows the restored receiver); an empty datagram that waits through two checkpoints.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>

#include "fd/kinds.h"
#include "sys/descriptor.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

using image::UnixSocketRecord;

bool recognises(const Facts& facts, const CaptureContext&) {
  if (!S_ISSOCK(facts.stat.st_mode)) return false;
  Result<int> domain = sys::socket_option(facts.ours.get(), SO_DOMAIN);
  return domain.has_value() && *domain == AF_UNIX;
}

constexpr const char* kRemedy = "run both ends under one `stint run`, or close it before the checkpoint";

// Named and listening sockets and connections to the outside have to be found again by others: not yet.
Result<> refuse_reachable(const Facts& facts) {
  int fd = facts.ours.get();
  if (TRY(sys::socket_option(fd, SO_ACCEPTCONN)) != 0)
    return refusal(facts, "is a unix socket that listens", "close it before the checkpoint");
  if (TRY(sys::has_name(fd))) return refusal(facts, "is a unix socket with a name", "close it before the checkpoint");
  if (TRY(sys::peer_has_name(fd))) return refusal(facts, "is a unix socket connected to one with a name", kRemedy);
  return {};
}

Result<> record_peer(const Facts& facts, const CaptureContext& context, UnixSocketRecord& record) {
  std::optional<sys::UnixSocketState> state = TRY(sys::unix_socket_state(record.socket));
  if (!state) return refusal(facts, "is a unix socket of another network namespace", kRemedy);
  record.connected = state->has_peer;
  record.peer = state->peer;
  record.peer_gone = state->has_peer && state->peer == 0;
  record.read_shut = state->read_shut;
  record.write_shut = state->write_shut;
  record.reset = record.peer_gone && (TRY(sys::poll_now(facts.ours.get(), 0)) & POLLERR) != 0;
  if (record.peer != 0 && !context.by_inode.contains(record.peer))
    return refusal(facts, "is a unix socket whose other end is open outside of the job", kRemedy);
  return {};
}

Result<> record_options(int fd, UnixSocketRecord& record) {
  record.type = TRY(sys::socket_option(fd, SO_TYPE));
  record.send_buffer = TRY(sys::socket_option(fd, SO_SNDBUF));
  record.receive_buffer = TRY(sys::socket_option(fd, SO_RCVBUF));
  record.pass_credentials = TRY(sys::socket_option(fd, SO_PASSCRED)) != 0;
  record.receive_timeout_us = TRY(sys::socket_timeout_us(fd, SO_RCVTIMEO));
  record.send_timeout_us = TRY(sys::socket_timeout_us(fd, SO_SNDTIMEO));
  record.peek_offset = TRY(sys::socket_option(fd, SO_PEEK_OFF));
  return {};
}

Result<> record_queue(const Facts& facts, UnixSocketRecord& record) {
  bool stream = record.type == SOCK_STREAM;
  if (record.reset && !stream) {
    // To look at the messages would take the error away.
    if (TRY(sys::bytes_queued(facts.ours.get())) == 0) return {};
    return refusal(facts, "its other end went, with unread data, while messages wait in it",
                   "let them be received first");
  }
  size_t total = 0;
  for (sys::PeekedMessage& message : TRY(sys::peek_messages(facts.ours.get()))) {
    if (message.carries_descriptors)
      return refusal(facts, "a message that waits in this socket carries descriptors", "let it be received first");
    total += message.bytes.size();
    if (stream && !record.queued.empty()) {
      record.queued.front().insert(record.queued.front().end(), message.bytes.begin(), message.bytes.end());
    } else {
      record.queued.push_back(std::move(message.bytes));
    }
  }
  if (stream && total != static_cast<size_t>(TRY(sys::bytes_queued(facts.ours.get()))))
    return refusal(facts, "urgent data (MSG_OOB) waits in this socket", "let it be received first");
  return {};
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  TRY(refuse_reachable(facts));
  UnixSocketRecord record;
  record.description = description;
  record.socket = facts.stat.st_ino;
  TRY(record_peer(facts, context, record));
  TRY(record_options(facts.ours.get(), record));
  if (!context.only_look && record.connected) TRY(record_queue(facts, record));
  return put_record(context.sink, kUnixSocket.type, record);
}

// `from` is the other end of the socket that shall find them.
Result<> refill(int from, const UnixSocketRecord& record) {
  if (record.queued.empty()) return {};
  size_t total = 0;
  for (const Bytes& message : record.queued) total += message.size() + 4096;
  int before = TRY(sys::socket_option(from, SO_SNDBUF));
  int wanted = static_cast<int>(std::min<size_t>(total * 2, 1 << 30));
  if (wanted > before) TRY(sys::set_send_buffer(from, wanted));
  for (const Bytes& message : record.queued)
    TRY(sys::send_now(from, message).in("messages that waited in the socket (see net.core.wmem_max)"));
  return {};
}

Result<sys::UniqueFd> restore_without_peer(const UnixSocketRecord& record) {
  if (!record.connected) return sys::socket(AF_UNIX, record.type, 0);
  auto [mine, other] = TRY(sys::socket_pair(record.type));
  TRY(refill(other.get(), record));
  std::byte unread{};
  if (record.reset) TRY(sys::send_now(mine.get(), {&unread, 1}));
  return std::move(mine);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  UnixSocketRecord record = TRY(image::decode<UnixSocketRecord>(bytes));
  if (record.peer == 0) return restore_without_peer(record);
  auto [place, fresh] = context.socket_pairs.try_emplace(std::min(record.socket, record.peer));
  Ends& ends = place->second;
  if (fresh) {
    auto [lower, higher] = TRY(sys::socket_pair(record.type));
    ends = {.first = std::move(lower), .second = std::move(higher)};
  }
  bool lower = record.socket < record.peer;
  TRY(refill(lower ? ends.second.get() : ends.first.get(), record));
  return sys::duplicate(lower ? ends.first.get() : ends.second.get());
}

Result<> set_buffers(int fd, const UnixSocketRecord& record) {
  if (TRY(sys::socket_option(fd, SO_SNDBUF)) != record.send_buffer &&
      TRY(sys::set_send_buffer(fd, record.send_buffer)) != record.send_buffer)
    return unfit(fmt::format("unix socket: a send buffer of {} bytes: raise net.core.wmem_max", record.send_buffer));
  if (TRY(sys::socket_option(fd, SO_RCVBUF)) != record.receive_buffer &&
      TRY(sys::set_receive_buffer(fd, record.receive_buffer)) != record.receive_buffer)
    return unfit(
        fmt::format("unix socket: a receive buffer of {} bytes: raise net.core.rmem_max", record.receive_buffer));
  return {};
}

Result<> finish(ByteView bytes, int fd, RestoreContext&) {
  UnixSocketRecord record = TRY(image::decode<UnixSocketRecord>(bytes));
  TRY(set_buffers(fd, record));
  if (record.pass_credentials) TRY(sys::set_socket_option(fd, SO_PASSCRED, 1));
  if (record.receive_timeout_us != 0) TRY(sys::set_socket_timeout_us(fd, SO_RCVTIMEO, record.receive_timeout_us));
  if (record.send_timeout_us != 0) TRY(sys::set_socket_timeout_us(fd, SO_SNDTIMEO, record.send_timeout_us));
  if (record.peek_offset >= 0) TRY(sys::set_socket_option(fd, SO_PEEK_OFF, record.peek_offset));
  // The end of a stream whose peer went is shut down already; one that was never connected cannot be.
  if (!record.connected) return {};
  if (record.peer_gone && record.type != SOCK_DGRAM) return {};
  if (record.read_shut) TRY(sys::shut_down(fd, SHUT_RD));
  if (record.write_shut) TRY(sys::shut_down(fd, SHUT_WR));
  return {};
}

}  // namespace

const Kind kUnixSocket = {
    .name = "unix socket",
    .kept =
        "socket pairs of any type with what waits in them, ends that are shut or gone, buffer sizes, timeouts, "
        "SO_PASSCRED, SO_PEEK_OFF",
    .refused =
        "it has a name, listens, or is connected to one with a name or outside of the job; descriptors wait in it",
    .type = image::RecordType::kUnixSocket,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
    .finish = finish,
};

}  // namespace stint::fd
