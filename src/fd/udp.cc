// A UDP socket: an address, perhaps a peer, and the datagrams that wait. It has no other end: one that is connected to
// another host is kept like any other. How what waits is got hold of and made again: net/udp_queue.h; multicast groups:
// sys/multicast.h.
//
// An error that waits cannot be looked at without being taken away. That a port of this host answered that nobody is
// there is the one error that such a peer can cause; any other is refused. Not kept: whether a port was asked for by
// bind(2) or chosen by the kernel (net/local_port.h); to which member of a SO_REUSEPORT group the kernel gives what;
// the count of SO_RXQ_OVFL; what arrives from outside between the checkpoint and the restart.
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "fd/kinds.h"
#include "fd/socket.h"
#include "fd/udp_survey.h"
#include "image/inet_records.h"
#include "net/udp_queue.h"
#include "net/udp_rebuild.h"
#include "sys/clock.h"
#include "sys/descriptor.h"
#include "sys/inet.h"
#include "sys/multicast.h"
#include "sys/poll.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

using image::UdpRecord;

constexpr const char* kLater = "try again when the program has received it";

bool recognises(const Facts& facts, const CaptureContext&) { return is_internet_socket(facts, IPPROTO_UDP); }

// Whether all that was sent is on its way, perhaps after a moment.
Result<bool> is_sent(int fd) {
  constexpr int64_t kPatienceMs = 50;
  for (int64_t start = sys::monotonic_ms(); sys::monotonic_ms() - start < kPatienceMs;) {
    if (TRY(sys::bytes_unsent(fd)) == 0) return true;
    TRY(sys::poll({}, 1));
  }
  return false;
}

Result<> refuse_what_hides(const Facts& facts) {
  std::optional<Bytes> encapsulation = TRY(sys::option_bytes(facts.ours.get(), IPPROTO_UDP, UDP_ENCAP, sizeof(int)));
  bool encapsulates =
      encapsulation && std::ranges::any_of(*encapsulation, [](std::byte b) { return b != std::byte{}; });
  if (encapsulates) return refusal(facts, "the kernel itself receives from it (UDP_ENCAP)", "end the tunnel first");
  if (TRY(is_sent(facts.ours.get()))) return {};
  return passing_refusal(facts,
                         "it holds back what was sent (UDP_CORK, MSG_MORE), or waits for a host that does not answer",
                         "try again when it is sent");
}

Result<> record_options(const Facts& facts, CaptureContext& context, UdpRecord& record) {
  int fd = facts.ours.get();
  record.reuse_address = TRY(sys::socket_option(fd, SO_REUSEADDR)) != 0;
  record.reuse_port = TRY(sys::socket_option(fd, SO_REUSEPORT)) != 0;
  record.receive_low_water = TRY(sys::socket_option(fd, SO_RCVLOWAT));
  record.peek_offset = TRY(sys::socket_option(fd, SO_PEEK_OFF));
  record.buffers = TRY(net::read_buffers(fd));
  record.options = TRY(context.options.read(fd));
  record.filter = TRY(shown_filter(facts));
  return {};
}

Result<> record_memberships(const Facts& facts, const UdpSurvey& survey, UdpRecord& record) {
  for (const proc::Group& group : survey.groups()) {
    if (group.address.v6 && !record.v6) continue;
    std::optional<sys::SourceFilter> joined = TRY(sys::membership(facts.ours.get(), group.interface, group.address));
    if (!joined) continue;
    record.memberships.push_back({.group = group.address,
                                  .interface = TRY(sys::interface_name(group.interface)),
                                  .exclude = joined->exclude,
                                  .sources = std::move(joined->sources)});
  }
  return {};
}

bool is_set(const UdpRecord& record, int level, std::initializer_list<int> names) {
  return std::ranges::any_of(record.options, [&](const image::ProtocolOption& option) {
    return option.level == level && std::ranges::find(names, option.name) != names.end();
  });
}

Result<> record_error(const Facts& facts, bool readable, UdpRecord& record) {
  bool asks = is_set(record, IPPROTO_IP, {IP_RECVERR}) || is_set(record, IPPROTO_IPV6, {IPV6_RECVERR});
  record.refused = record.connected && !asks && !readable && TRY(net::is_own_unicast(record.remote));
  if (record.refused) return {};
  return passing_refusal(facts, "an error waits in it (or in its error queue), and cannot be seen without taking it",
                         kLater);
}

Result<> check_origin(const Facts& facts, const sys::Datagram& datagram, const UdpSurvey& survey) {
  std::string from = to_text(datagram.from);
  if (!TRY(net::is_own_unicast(datagram.from)))
    return passing_refusal(facts, fmt::format("a datagram from {}, which is another host, waits in it", from), kLater);
  if (!survey.has(datagram.from) && TRY(net::is_taken(datagram.from)))
    return passing_refusal(facts, fmt::format("a datagram from {}, another program's port, waits in it", from), kLater);
  return {};
}

Result<> record_datagram(const Facts& facts, sys::Datagram datagram, const UdpSurvey& survey, UdpRecord& record) {
  TRY(check_origin(facts, datagram, survey));
  image::DatagramRecord saved;
  saved.from = datagram.from;
  saved.to = net::destination(datagram, record.local);
  if (!TRY(net::is_own_unicast(saved.to)))
    return passing_refusal(
        facts, fmt::format("a datagram to {} (multicast or broadcast) waits in it", to_text(saved.to)), kLater);
  saved.bytes = std::move(datagram.bytes);
  saved.segment = datagram.segment;
  saved.hops = datagram.hops, saved.traffic_class = datagram.traffic_class;
  record.queued.push_back(std::move(saved));
  return {};
}

Result<uint32_t> memory_in_queue(uint64_t inode) {
  for (const sys::InetSocket& socket : TRY(TRY(sys::SockDiag::open()).all(IPPROTO_UDP, ~0u)))
    if (socket.inode == inode) return socket.receive_queue;
  return 0u;
}

// The least that the kernel takes for a datagram.
constexpr uint32_t kLeast = 512;

Result<> record_queue(const Facts& facts, const UdpSurvey& survey, UdpRecord& record) {
  if ((TRY(sys::poll_now(facts.ours.get(), POLLIN)) & POLLIN) == 0) return {};
  std::vector<sys::Datagram> waiting = TRY(sys::peek_datagrams(facts.ours.get()));
  if (TRY(memory_in_queue(record.socket)) >= TRY(net::memory_of(waiting)) + kLeast)
    return passing_refusal(
        facts, "an empty datagram waits in it that somebody has looked at, and does not show any more", kLater);
  bool timed =
      is_set(record, SOL_SOCKET, {SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW, SO_TIMESTAMPING});
  if (timed && !waiting.empty())
    return passing_refusal(
        facts, "a datagram waits in it whose time of arrival the program has asked for (SO_TIMESTAMP)", kLater);
  for (sys::Datagram& datagram : waiting) TRY(record_datagram(facts, std::move(datagram), survey, record));
  return {};
}

Result<> record_state(const Facts& facts, const UdpSurvey& survey, UdpRecord& record) {
  int fd = facts.ours.get();
  record.local = TRY(sys::own_address(fd));
  short shown = TRY(sys::poll_now(fd, POLLIN | POLLRDHUP));
  record.read_shut = (shown & POLLRDHUP) != 0, record.write_shut = (shown & POLLHUP) != 0;
  if (const UdpSurvey::Seen* seen = survey.find(record.socket)) {
    record.order = seen->order;
    record.connected = seen->socket.state == TCP_ESTABLISHED;
    record.read_shut = seen->socket.read_shut, record.write_shut = seen->socket.write_shut;
    // getpeername(2) says nothing where the port is 0.
    if (record.connected) record.remote = record.v6 ? seen->socket.remote.as_v6() : seen->socket.remote;
  }
  return (shown & POLLERR) != 0 ? record_error(facts, (shown & POLLIN) != 0, record) : Result<>();
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  if (context.udp == nullptr) context.udp = TRY(UdpSurvey::make(context, facts.seen_as));
  UdpRecord record;
  record.description = description;
  record.socket = facts.stat.st_ino;
  record.v6 = TRY(sys::socket_option(facts.ours.get(), SO_DOMAIN)) == AF_INET6;
  TRY(refuse_what_hides(facts));
  TRY(record_options(facts, context, record));
  TRY(record_memberships(facts, *context.udp, record));
  TRY(record_state(facts, *context.udp, record));
  if (!record.refused && !context.only_look) TRY(record_queue(facts, *context.udp, record));
  return put_record(context.sink, kUdp.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  return take_rebuilt<UdpRecord>(bytes, kUdp, context.source, net::rebuild_udp, context.udp);
}

}  // namespace

const Kind kUdp = {
    .name = "UDP socket",
    .kept =
        "address, port, peer (also on other hosts); what waits in it from sockets of the job, or from those of this "
        "host that are gone; a refusal that waits; multicast groups; filters; options",
    .refused =
        "a datagram from another host or program, or to a group, waits in it, or one whose time of arrival is asked "
        "for; "
        "it holds back what was sent; another error waits in it",
    .type = image::RecordType::kUdp,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
