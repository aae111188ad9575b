// A unix socket: one end of a pair or connection within the job, a listener, a datagram socket, or one that is none of
// these yet. sock_diag tells who its peer is (by inode number, 0 once that is closed), which directions are shut, which
// file it is bound to and whose connections wait in a listener; SO_PEEK_OFF shows what waits in it without taking it.
// How they are made again: unix_making.cc.
//
// A peer that went with unread data leaves ECONNRESET for the next call: poll(2) shows it as POLLERR. What has been
// sent over a connection that nobody has accepted yet cannot be seen, and is refused. Not kept: an empty datagram that
// waits through two checkpoints.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>

#include "fd/kinds.h"
#include "fd/socket.h"
#include "fd/socket_options.h"
#include "fd/unix_making.h"
#include "fd/unix_socket_file.h"
#include "proc/process.h"
#include "sys/descriptor.h"
#include "sys/procfs.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

using image::UnixSocketRecord;
using State = image::UnixSocketState;

constexpr const char* kRemedy = "run both ends under one `stint run`, or close it before the checkpoint";

bool recognises(const Facts& facts, const CaptureContext&) {
  if (!S_ISSOCK(facts.stat.st_mode) || (facts.info.flags & O_PATH) != 0) return false;
  Result<int> domain = sys::socket_option(facts.ours.get(), SO_DOMAIN);
  return domain.has_value() && *domain == AF_UNIX;
}

bool is_inside(uint64_t socket, const CaptureContext& context) {
  auto [first, last] = context.by_inode.equal_range(socket);
  return std::any_of(first, last, [](const auto& entry) { return S_ISSOCK(entry.second->stat.st_mode); });
}

// All listeners of the job and whose connections wait in them.
Result<> find_waiting_connections(CaptureContext& context) {
  context.waiting_connections.emplace();
  for (const auto& [inode, facts] : context.by_inode) {
    if (!recognises(*facts, context) || TRY(sys::socket_option(facts->ours.get(), SO_ACCEPTCONN)) == 0) continue;
    std::optional<sys::UnixSocketState> state = TRY(sys::unix_socket_state(inode));
    if (!state) continue;
    for (uint32_t client : state->waiting) context.waiting_connections->emplace(client, inode);
  }
  return {};
}

Result<> record_listener(const Facts& facts, const CaptureContext& context, const sys::UnixSocketState& state,
                         UnixSocketRecord& record) {
  record.state = State::kListens;
  record.backlog = state.backlog;
  for (uint32_t client : state.waiting) {
    if (client == 0)
      return refusal(facts, "a connection that its client has closed again waits to be accepted",
                     "let it be accepted first");
    // What was sent over it cannot be seen before it is accepted; then it can be cut off like any other.
    if (!is_inside(client, context))
      return passing_refusal(facts, "a connection from outside of the job waits to be accepted",
                             "let it be accepted and closed first, or, when it is accepted, give the checkpoint "
                             "--external=close");
    record.waiting.push_back(client);
  }
  return {};
}

// An abstract name is its owner's as long as that is there; a path leads nowhere while a restart binds to it.
bool may_be_taken(const std::string& name) { return !name.empty() && name.front() == '\0'; }

// As if the peer had gone at this moment: `reset` says that it would have left something unread.
void record_cut_off(bool reset, UnixSocketRecord& record) {
  record.state = State::kPeerGone;
  record.cut_off = true;
  if (record.type == SOCK_DGRAM) return;
  record.apart = may_be_taken(record.peer_name);
  record.read_shut = record.write_shut = true;
  record.reset = reset;
}

// The peer is closed, or has not been accepted yet.
Result<> record_missing_peer(const Facts& facts, CaptureContext& context, UnixSocketRecord& record) {
  if (!context.waiting_connections) TRY(find_waiting_connections(context));
  if (context.waiting_connections->contains(record.socket)) {
    record.state = State::kWaits;
    proc::Status status = TRY(proc::parse_status(TRY(sys::read_proc(facts.seen_as, "status"))));
    record.holder = {facts.job_pid.number, status.uids[1], status.gids[1]};
    if (TRY(sys::bytes_sent_unread(facts.ours.get())) == 0) return {};
    return passing_refusal(facts, "what was sent over a connection that nobody has accepted yet cannot be seen",
                           "try again when it is accepted");
  }
  if (record.type != SOCK_DGRAM && (!record.read_shut || !record.write_shut)) {
    TRY(cut_off(facts, context, "is a unix socket that waits for a listener outside of the job to accept it", kRemedy));
    // A listener that goes resets whoever waits in it.
    record_cut_off(true, record);
    return {};
  }
  record.state = State::kPeerGone;
  record.reset = (TRY(sys::poll_now(facts.ours.get(), 0)) & POLLERR) != 0;
  // It may be a server outside that has closed this connection only.
  record.apart = context.close_external && record.type != SOCK_DGRAM && may_be_taken(record.peer_name);
  return {};
}

// A datagram socket that only sends to its peer can be connected again; the peer knows nothing of it.
Result<bool> only_sends(uint64_t peer, const UnixSocketRecord& record) {
  if (record.type != SOCK_DGRAM || record.peer_name.empty()) return false;
  std::optional<sys::UnixSocketState> other = TRY(sys::unix_socket_state(peer));
  return other && other->peer != record.socket;
}

Result<> record_outside_peer(const Facts& facts, CaptureContext& context, uint64_t peer, UnixSocketRecord& record) {
  if (!TRY(only_sends(peer, record))) {
    TRY(cut_off(facts, context, "is a unix socket whose other end is open outside of the job", kRemedy));
    record_cut_off(TRY(sys::bytes_sent_unread(facts.ours.get())) != 0, record);
    return {};
  }
  record.state = State::kOutside;
  if (record.peer_name.front() != '\0') record.peer_path = TRY(absolute_socket_path(facts, record.peer_name));
  return {};
}

Result<> record_peer(const Facts& facts, CaptureContext& context, const sys::UnixSocketState& state,
                     UnixSocketRecord& record) {
  record.read_shut = state.read_shut;
  record.write_shut = state.write_shut;
  if (state.listens) return record_listener(facts, context, state, record);
  if (!state.has_peer) return {};
  record.peer_name = TRY(sys::peer_name(facts.ours.get()));
  if (state.peer == 0) return record_missing_peer(facts, context, record);
  if (!is_inside(state.peer, context)) return record_outside_peer(facts, context, state.peer, record);
  record.state = State::kConnected;
  record.peer = state.peer;
  return {};
}

// What nobody reaches any more needs no file: a connection has its name from a listener, or has no use for it.
Result<> record_name(const Facts& facts, const sys::UnixSocketState& state, UnixSocketRecord& record) {
  record.name = TRY(sys::socket_name(facts.ours.get()));
  bool reachable = record.type == SOCK_DGRAM || record.state == State::kListens || record.state == State::kAlone;
  if (!record.name.empty() && record.name.front() != '\0' && reachable && state.file)
    record.file = TRY(find_socket_file(facts, record.name, *state.file));
  return {};
}

bool is_of_job(const Facts& facts, const CaptureContext& context, int number) {
  return number == facts.pid.number || (context.job_number && context.job_number(number) != 0);
}

std::string not_told(int process) {
  return fmt::format(
      "process {}, which connected it (SO_PEERCRED), has ended or is not in the job, and its number there cannot be "
      "told",
      process);
}

Result<> record_credentials(const Facts& facts, CaptureContext& context, UnixSocketRecord& record) {
  std::optional<ucred> seen = TRY(sys::peer_credentials(facts.ours.get()));
  if (!seen) return {};
  int number = number_in_job(facts, context, seen->pid);
  if (number == 0 && context.ask_peer_credentials && facts.waits_in.empty()) {
    std::optional<ucred> as_it_sees = TRY(context.ask_peer_credentials(facts));
    number = as_it_sees ? as_it_sees->pid : 0;
  }
  // Of a peer that is gone the process may be there still, with its number.
  bool stranger = number == 0 || (context.close_external && !is_of_job(facts, context, seen->pid));
  if (stranger && record.state == State::kPeerGone && !record.cut_off) {
    TRY(cut_off(facts, context, not_told(seen->pid), kRemedy));
    record.cut_off = true;
  }
  if (number == 0 && !record.cut_off) return refusal(facts, not_told(seen->pid), kRemedy);
  record.credentials = {.pid = number, .uid = seen->uid, .gid = seen->gid};
  return {};
}

Result<> record_options(const Facts& facts, UnixSocketRecord& record) {
  int fd = facts.ours.get();
  if (TRY(has_filter(facts)))
    return refusal(facts, "has a filter (SO_ATTACH_FILTER)", "take it away (SO_DETACH_FILTER)");
  record.send_buffer = TRY(sys::socket_option(fd, SO_SNDBUF));
  record.receive_buffer = TRY(sys::socket_option(fd, SO_RCVBUF));
  sys::UniqueFd fresh = TRY(sys::socket(AF_UNIX, record.type, 0));
  record.options = TRY(changed_options(fd, fresh.get()));
  return {};
}

// As the process sees it that would receive the message, `before` bytes further on.
Result<int> ask_sender(const Facts& facts, const CaptureContext& context, size_t before) {
  if (!context.ask_sender_credentials || !facts.waits_in.empty()) return 0;
  int fd = facts.ours.get();
  int offset = TRY(sys::socket_option(fd, SO_PEEK_OFF));
  TRY(sys::set_socket_option(fd, SO_PEEK_OFF, static_cast<int>(before)));
  Result<std::optional<ucred>> sender = context.ask_sender_credentials(facts);
  TRY(sys::set_socket_option(fd, SO_PEEK_OFF, offset));
  std::optional<ucred> seen = TRY(std::move(sender));
  return seen ? seen->pid : 0;
}

Result<std::optional<image::Credentials>> sender_of(const Facts& facts, const CaptureContext& context,
                                                    const sys::UnixMessage& message, size_t before) {
  if (!message.credentials) return std::optional<image::Credentials>();
  int number = number_in_job(facts, context, message.credentials->pid);
  // A message of no bytes cannot be looked at twice.
  if (number == 0 && !message.bytes.empty()) number = TRY(ask_sender(facts, context, before));
  if (number == 0)
    return refusal(
        facts,
        fmt::format("process {}, which sent a message that waits in it with its credentials, has ended or is "
                    "not in the job, and its number there cannot be told",
                    message.credentials->pid),
        "let it be received first");
  return std::optional(image::Credentials{number, message.credentials->uid, message.credentials->gid});
}

Result<> record_queue(const Facts& facts, const CaptureContext& context, UnixSocketRecord& record) {
  auto found = context.waiting_messages.find(record.socket);
  if (found == context.waiting_messages.end()) return {};
  size_t total = 0;
  for (const WaitingMessage& waiting : found->second) {
    image::QueuedMessage message;
    message.bytes = waiting.message.bytes;
    message.credentials = TRY(sender_of(facts, context, waiting.message, total));
    total += message.bytes.size();
    if (record.type == SOCK_DGRAM) message.sender = waiting.message.sender;
    for (const std::pair<int, int>& carried : waiting.carried)
      message.descriptions.push_back(context.description_of.at(carried));
    record.queued.push_back(std::move(message));
  }
  if (record.type == SOCK_STREAM && record.state != State::kListens &&
      total != static_cast<size_t>(TRY(sys::bytes_queued(facts.ours.get()))))
    return refusal(facts, "urgent data (MSG_OOB) waits in this socket", "let it be received first");
  return {};
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  UnixSocketRecord record;
  record.description = description;
  record.socket = facts.stat.st_ino;
  record.type = TRY(sys::socket_option(facts.ours.get(), SO_TYPE));
  std::optional<SeenUnixSocket> seen = TRY(look_at_unix_socket(facts));
  if (seen) TRY(record_peer(facts, context, seen->state, record));
  if (!seen || (seen->apart && record.state != State::kPeerGone))
    return refusal(facts, "is a unix socket of another network namespace", kRemedy);
  record.apart |= seen->apart;
  TRY(record_name(facts, seen->state, record));
  TRY(record_credentials(facts, context, record));
  TRY(record_options(facts, record));
  if (record.state != State::kPeerGone && (TRY(sys::poll_now(facts.ours.get(), 0)) & POLLERR) != 0)
    return refusal(facts, "an error waits in this socket", "let the program see it first");
  TRY(record_queue(facts, context, record));
  return put_record(context.sink, kUnixSocket.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  UnixSocketRecord record = TRY(image::decode<UnixSocketRecord>(bytes));
  return take_unix_socket(record.socket, context);
}

Result<> finish(ByteView bytes, int fd, RestoreContext& context) {
  UnixSocketRecord record = TRY(image::decode<UnixSocketRecord>(bytes));
  TRY(settle_unix_sockets(context));
  TRY(set_buffer_sizes(fd, record.send_buffer, record.receive_buffer));
  TRY(set_options(fd, record.options));
  std::optional<ucred> seen = TRY(sys::peer_credentials(fd));
  std::optional<image::Credentials> now;
  if (seen) now = {seen->pid, seen->uid, seen->gid};
  if (now != record.credentials && !record.cut_off)
    return unfit("a unix socket whose SO_PEERCRED cannot be what it was: restart the job as the user who ran it");
  // The end of a stream whose peer went is shut down already; one that was never connected cannot be.
  bool connected = record.type == SOCK_DGRAM || record.state == State::kConnected || record.state == State::kWaits;
  if (connected && record.read_shut) TRY(sys::shut_down(fd, SHUT_RD));
  if (connected && record.write_shut) TRY(sys::shut_down(fd, SHUT_WR));
  return {};
}

}  // namespace

const Kind kUnixSocket = {
    .name = "unix socket",
    .kept =
        "pairs, connections within the job and listeners of any type; names (a bound file gets another inode number), "
        "what waits in them, with descriptors and credentials; connections that are not accepted yet; ends that are "
        "shut or gone; SO_PEERCRED, buffer sizes and other options; a datagram socket that sends to one outside, "
        "such as the system's log",
    .refused =
        "it is connected to one outside of the job, without --external=close; what was sent before the connection was "
        "accepted, or a connection from outside that is not accepted yet; urgent data; a filter",
    .type = image::RecordType::kUnixSocket,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
    .finish = finish,
};

}  // namespace stint::fd
