// A TCP socket: new, bound, listening, connecting, connected, or over. What is connected is kept when its other end is
// in the job too, waits to be accepted by it, or is gone; how they find one another is told in fd/tcp_survey.h, how the
// bytes on their way are got hold of in net/tcp_queue.h, how it is all made again in net/tcp_rebuild.h. Addresses and
// ports are what they were.
//
// An error that waits in a socket cannot be looked at without being taken away. That a connect was refused shows in
// what TCP counts; any other error is refused. Not kept: how far TCP has got in its estimates; times that run (of
// keep-alive, of a retry); whether connect(2), called once more on what it has connected, says so (EISCONN): it
// succeeds.
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "fd/kinds.h"
#include "fd/socket.h"
#include "fd/tcp_survey.h"
#include "image/inet_records.h"
#include "net/tcp_queue.h"
#include "net/tcp_rebuild.h"
#include "sys/descriptor.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

using image::TcpRecord;
using image::TcpState;

constexpr const char* kOutside = "run both ends under one `stint run`, or close it before the checkpoint";

bool recognises(const Facts& facts, const CaptureContext&) { return is_internet_socket(facts, IPPROTO_TCP); }

// A port that is shown may have been given back: a connect(2) that failed leaves it in sight.
Result<bool> holds_port(const TcpEnd& end) {
  sys::UniqueFd probe = TRY(sys::socket(end.local.v6 ? AF_INET6 : AF_INET, SOCK_STREAM, IPPROTO_TCP));
  if (end.local.v6) TRY(sys::set_option(probe.get(), IPPROTO_IPV6, IPV6_V6ONLY, end.v6_only ? 1 : 0));
  return !sys::bind(probe.get(), end.local).has_value();
}

// The state TCP_CLOSE: not connected yet, or no more.
Result<TcpState> state_of_closed(const TcpEnd& end) {
  short shown = TRY(sys::poll_now(end.facts->ours.get(), POLLIN | POLLRDHUP));
  bool never_connected = end.info.acknowledged == 0 && end.info.received == 0 && end.info.segments_received == 1;
  if ((shown & POLLERR) != 0) {
    if (never_connected) return TcpState::kRefused;
    return refusal(*end.facts,
                   "an error waits in it (it was reset, or timed out), and cannot be seen without taking it",
                   "let the program read it, or close it");
  }
  if ((shown & POLLRDHUP) != 0) return never_connected ? TcpState::kRefusedTold : TcpState::kEnded;
  if (end.local.port == 0 || TRY(holds_port(end))) return TcpState::kUnconnected;
  return TcpState::kFailed;
}

Result<> refuse_what_hides(const Facts& facts) {
  int fd = facts.ours.get();
  std::optional<Bytes> layer = TRY(sys::option_bytes(fd, IPPROTO_TCP, TCP_ULP, 16));
  if (layer && !layer->empty())
    return refusal(facts, "the kernel does the encryption of this connection (TCP_ULP)", "switch kernel TLS off");
  if (TRY(has_filter(facts))) return refusal(facts, "a filter looks at what arrives in it", "take the filter away");
  if (TRY(sys::option(fd, IPPROTO_TCP, TCP_REPAIR)) != 0)
    return refusal(facts, "it is under repair (TCP_REPAIR)", "end the repair first");
  return {};
}

Result<> record_listener(const TcpEnd& end, const CaptureContext& context, TcpRecord& record) {
  record.backlog = static_cast<int32_t>(end.info.backlog);
  TcpSurvey::Queue queue = context.tcp->queue_of(end);
  if (queue.waiting <= queue.known) return {};
  return passing_refusal(
      *end.facts,
      fmt::format("{} connections from outside of the job, or from sockets that were closed since, wait to "
                  "be accepted",
                  queue.waiting - queue.known),
      "try again when they are accepted");
}

// The other end waits in a listener of the job. Its data cannot be seen before it is accepted.
Result<> record_waiting(const TcpEnd& end, TcpRecord& record) {
  record.waiting = true;
  record.listener = end.listener->facts->stat.st_ino;
  record.waiting_for_ms = end.info.ms_since_sent;
  if (!end.stranger) return {};
  uint32_t finished = record.write_shut ? 1 : 0;
  uint32_t unsent = static_cast<uint32_t>(TRY(sys::bytes_unsent(end.facts->ours.get())));
  if (unsent <= finished && end.stranger->receive_queue <= finished) return {};
  return passing_refusal(*end.facts, "data waits in a connection that is not accepted yet",
                         "try again when it is accepted");
}

Result<> record_connecting(const TcpEnd& end, CaptureContext& context, TcpRecord& record) {
  record.state = TcpState::kConnecting;
  if (end.remote) record.remote = *end.remote;
  if (end.listener != nullptr) return record_waiting(end, record);
  std::string to = end.remote ? to_text(*end.remote) : "somewhere";
  TRY(cut_off(*end.facts, context, fmt::format("it is about to connect to {}, which is outside of the job", to),
              kOutside));
  // So answers the host of a server that has ended.
  record.state = TcpState::kRefused;
  record.remote = {};
  return {};
}

Result<> deliver(const TcpEnd& end) {
  int from = end.peer != nullptr ? end.peer->facts->ours.get() : -1;
  net::Unsent unsent = from >= 0 ? net::unsent_of(from) : [&]() -> Result<uint64_t> {
    sys::SockDiag diag = TRY(sys::SockDiag::open());
    std::optional<sys::InetSocket> left = TRY(diag.find_tcp(*end.remote, end.local));
    return left && left->state == TCP_FIN_WAIT1 ? left->send_queue : 0;
  };
  if (TRY(net::deliver(from, unsent, end.facts->ours.get()))) return {};
  return refusal(
      *end.facts,
      fmt::format("{} bytes that were sent to it cannot be brought over (its receive buffer is small)", TRY(unsent())),
      "let it receive first, or raise net.ipv4.tcp_rmem");
}

Result<> record_queue(const Facts& facts, TcpRecord& record) {
  if ((TRY(sys::poll_now(facts.ours.get(), POLLPRI)) & POLLPRI) != 0)
    return refusal(facts, "urgent data (MSG_OOB) waits in it", "let it be received first");
  record.queued = TRY(net::peek_queue(facts.ours.get()));
  return {};
}

// Whether its other end is of the job, waits to become so, or is closed for good.
Result<bool> is_inside(const TcpEnd& end) {
  if (end.peer != nullptr || end.listener != nullptr) return true;
  if (end.apart || end.stranger) return end.peer_closed;
  // Gone without a trace: it has sent its end, and its address is of this host.
  sys::UniqueFd probe = TRY(sys::socket(end.remote->v6 ? AF_INET6 : AF_INET, SOCK_STREAM, IPPROTO_TCP));
  return end.info.state == TCP_CLOSE_WAIT && sys::bind(probe.get(), end.remote->with_port(0)).has_value();
}

// As if its other end, which is outside, had been closed with nothing unread: a FIN has come after what has arrived,
// and what is sent is answered by a reset. What is on its way out is lost. (With something unread, which nobody here
// can know of another host, it would have been a reset at once.)
Result<> cut_off_connection(const TcpEnd& end, CaptureContext& context, TcpRecord& record) {
  TRY(cut_off(*end.facts, context, fmt::format("is a TCP connection to {}, outside of the job", to_text(*end.remote)),
              kOutside));
  if (end.local.scope != 0 || end.remote->scope != 0)
    return refusal(*end.facts,
                   fmt::format("is a TCP connection to {}, a link-local address outside of the job, which is there on "
                               "this link only",
                               to_text(*end.remote)),
                   kOutside);
  record.apart = true;
  return {};
}

Result<> record_connection(const TcpEnd& end, CaptureContext& context, TcpRecord& record) {
  const Facts& facts = *end.facts;
  record.state = TcpState::kConnected;
  record.remote = *end.remote;
  record.apart = end.apart.has_value();
  if (!TRY(is_inside(end))) TRY(cut_off_connection(end, context, record));
  int state = end.info.state;
  record.write_shut = state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT;
  bool read_over = (TRY(sys::poll_now(facts.ours.get(), POLLRDHUP)) & POLLRDHUP) != 0;
  record.read_shut = read_over && state != TCP_CLOSE_WAIT;
  if (end.listener != nullptr) return record_waiting(end, record);
  record.peer = end.peer != nullptr ? end.peer->facts->stat.st_ino : 0;
  if (context.only_look) return {};
  if (record.apart) return record_queue(facts, record);
  TRY(deliver(end));
  if (record.peer == 0 && TRY(sys::tcp_info(facts.ours.get())).state != TCP_CLOSE_WAIT)
    return passing_refusal(facts, fmt::format("its other end, {}, is about to vanish", to_text(*end.remote)),
                           "try again");
  return record_queue(facts, record);
}

Result<> record_state(const TcpEnd& end, CaptureContext& context, TcpRecord& record) {
  record.local = end.local;
  switch (end.info.state) {
    case TCP_LISTEN:
      record.state = TcpState::kListening;
      return record_listener(end, context, record);
    case TCP_SYN_SENT:
      return record_connecting(end, context, record);
    case TCP_CLOSE:
      record.state = TRY(state_of_closed(end));
      record.apart = end.apart && record.state == TcpState::kEnded;
      if (record.state == TcpState::kEnded && !context.only_look) return record_queue(*end.facts, record);
      return {};
    default:
      break;
  }
  if (end.remote) return record_connection(end, context, record);
  return passing_refusal(*end.facts, fmt::format("is in a state ({}) that passes", end.info.state), "try again");
}

Result<> record_options(const Facts& facts, CaptureContext& context, TcpRecord& record) {
  int fd = facts.ours.get();
  record.reuse_address = TRY(sys::socket_option(fd, SO_REUSEADDR)) != 0;
  record.reuse_port = TRY(sys::socket_option(fd, SO_REUSEPORT)) != 0;
  record.receive_low_water = TRY(sys::socket_option(fd, SO_RCVLOWAT));
  record.peek_offset = TRY(sys::socket_option(fd, SO_PEEK_OFF));
  record.buffers = TRY(net::read_buffers(fd));
  record.options = TRY(context.options.read(fd));
  return {};
}

// Devices are those of this network namespace: one of its own has none of their names and numbers. What an accepted
// socket shows as its multicast hops is how far its peer was, and no call sets it.
bool is_of_network(const image::ProtocolOption& option) {
  using Known = std::pair<int, int>;
  constexpr Known kOfNetwork[] = {{SOL_SOCKET, SO_BINDTODEVICE},       {IPPROTO_IP, IP_UNICAST_IF},
                                  {IPPROTO_IP, IP_MULTICAST_IF},       {IPPROTO_IP, IP_MULTICAST_TTL},
                                  {IPPROTO_IPV6, IPV6_MULTICAST_HOPS}, {IPPROTO_IPV6, IPV6_UNICAST_IF},
                                  {IPPROTO_IPV6, IPV6_MULTICAST_IF}};
  return std::ranges::find(kOfNetwork, Known{option.level, option.name}) != std::end(kOfNetwork);
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  if (context.tcp == nullptr) context.tcp = TRY(TcpSurvey::make(context));
  const TcpEnd& end = context.tcp->of(facts);
  TcpRecord record;
  record.description = description;
  record.socket = facts.stat.st_ino;
  record.v6 = end.local.v6;
  TRY(refuse_what_hides(facts));
  TRY(record_options(facts, context, record));
  TRY(record_state(end, context, record));
  if (record.apart) std::erase_if(record.options, is_of_network);
  return put_record(context.sink, kTcp.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  return take_rebuilt<TcpRecord>(bytes, kTcp, context.source, net::rebuild_tcp, context.tcp);
}

}  // namespace

const Kind kTcp = {
    .name = "TCP socket",
    .kept =
        "addresses and ports; listeners with the connections that wait in them; connections within the job with what "
        "waits in both directions, half-closed or with an end that is gone; refused connects; options",
    .refused =
        "its other end is outside of the job, without --external=close; a connection from outside is not accepted yet; "
        "data waits in a connection that is not accepted yet; urgent data or an "
        "error other than a refused connect waits in it",
    .type = image::RecordType::kTcp,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
