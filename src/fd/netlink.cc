// A netlink socket: a way to ask the kernel, and to hear from it. Its number among those of its protocol is its own
// (programs find answers by it), so it gets the same again. What waits in it has been said by the kernel, and nobody
// can make the kernel say it again: an empty queue is what is kept. NETLINK_GENERIC numbers its families and groups
// anew at each boot, and programs remember them.
//
// Not kept: what the kernel notes about a socket elsewhere, which it does for some families of NETLINK_GENERIC and does
// not show; a connection to the kernel itself (connect(2) to 0), which makes no difference but to what other programs
// send.
#include <fmt/format.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "fd/kinds.h"
#include "fd/socket.h"
#include "image/inet_records.h"
#include "net/holder.h"
#include "proc/netlink.h"
#include "sys/descriptor.h"
#include "sys/netlink.h"
#include "sys/procfs.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

using image::NetlinkRecord;

// Of the others, such as NETLINK_NETFILTER with its queues, the kernel keeps more than it shows.
constexpr std::array kKept = {NETLINK_ROUTE,          NETLINK_USERSOCK, NETLINK_SOCK_DIAG,
                              NETLINK_XFRM,           NETLINK_AUDIT,    NETLINK_FIB_LOOKUP,
                              NETLINK_KOBJECT_UEVENT, NETLINK_GENERIC,  NETLINK_CRYPTO};

bool recognises(const Facts& facts, const CaptureContext&) {
  if (!S_ISSOCK(facts.stat.st_mode)) return false;
  Result<int> domain = sys::socket_option(facts.ours.get(), SO_DOMAIN);
  return domain.has_value() && *domain == AF_NETLINK;
}

Result<std::string> boot() { return sys::read_whole("/proc/sys/kernel/random/boot_id", 64); }

Result<bool> dumps(const Facts& facts) {
  for (const proc::NetlinkSocket& socket : TRY(proc::parse_netlink(TRY(sys::read_proc(facts.seen_as, "net/netlink")))))
    if (socket.inode == facts.stat.st_ino) return socket.dumps;
  return false;
}

Result<> refuse_what_waits(const Facts& facts) {
  constexpr const char* kLater = "try again when the program has received it";
  short shown = TRY(sys::poll_now(facts.ours.get(), POLLIN));
  if ((shown & POLLERR) != 0)
    return passing_refusal(facts, "an error (ENOBUFS: messages were lost) waits in it", kLater);
  if ((shown & POLLIN) != 0 || TRY(dumps(facts)))
    return passing_refusal(facts, "messages of the kernel wait in it", kLater);
  return {};
}

Result<> record_options(const Facts& facts, CaptureContext& context, NetlinkRecord& record) {
  int fd = facts.ours.get();
  record.receive_low_water = TRY(sys::socket_option(fd, SO_RCVLOWAT));
  record.buffers = TRY(net::read_buffers(fd));
  record.options = TRY(context.options.read(fd));
  record.filter = TRY(shown_filter(facts));
  return {};
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  int fd = facts.ours.get();
  NetlinkRecord record;
  record.description = description;
  record.raw = TRY(sys::socket_option(fd, SO_TYPE)) == SOCK_RAW;
  record.protocol = TRY(sys::socket_option(fd, SO_PROTOCOL));
  if (std::ranges::find(kKept, record.protocol) == kKept.end())
    return refusal(
        facts,
        fmt::format("the kernel does not show what a netlink socket of protocol {} does for it", record.protocol),
        "close it before the checkpoint");
  TRY(refuse_what_waits(facts));
  record.port = TRY(sys::netlink_address(fd)).port;
  sys::NetlinkAddress peer = TRY(sys::netlink_peer(fd));
  record.peer_port = peer.port, record.peer_groups = peer.groups;
  record.groups = TRY(sys::netlink_groups(fd));
  if (record.protocol == NETLINK_GENERIC) record.boot = TRY(boot());
  TRY(record_options(facts, context, record));
  return put_record(context.sink, kNetlink.type, record);
}

Result<> bind_again(int fd, const NetlinkRecord& record) {
  if (record.port == 0) return {};
  Result<> bound = sys::bind_netlink(fd, record.port);
  if (bound.has_value() || bound.error().os_errno() != EADDRINUSE) return bound;
  return unfit(fmt::format("number {} of netlink protocol {} is taken by {}: end it, or wait for its end", record.port,
                           record.protocol, net::holder_of_netlink(record.protocol, record.port)));
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext&) {
  NetlinkRecord record = TRY(image::decode<NetlinkRecord>(bytes));
  if (record.protocol == NETLINK_GENERIC && record.boot != TRY(boot()))
    return unfit(
        "a generic netlink socket uses numbers that the kernel gives anew at each boot: it can only be restarted "
        "on this host, and before it is booted again");
  int type = record.raw ? SOCK_RAW : SOCK_DGRAM;
  sys::UniqueFd fd = TRY(sys::socket(AF_NETLINK, type, record.protocol));
  TRY(net::set_options(fd.get(), record.options, net::When::kNew));
  TRY(net::set_buffers(fd.get(), record.buffers));
  TRY(net::set_filter(fd.get(), record.filter));
  if (record.receive_low_water != 1) TRY(sys::set_socket_option(fd.get(), SO_RCVLOWAT, record.receive_low_water));
  TRY(bind_again(fd.get(), record));
  for (uint32_t group : record.groups)
    TRY(sys::join_netlink_group(fd.get(), group).in(fmt::format("group {}", group)).as(ErrorKind::kUnfit));
  if (record.peer_port != 0 || record.peer_groups != 0)
    TRY(sys::connect_netlink(fd.get(), {.port = record.peer_port, .groups = record.peer_groups}));
  return fd;
}

}  // namespace

const Kind kNetlink = {
    .name = "netlink socket",
    .kept = "protocol, number, multicast groups, peer, filter, options; NETLINK_GENERIC until the next boot",
    .refused =
        "messages wait in it, or were lost and the program does not know; of other protocols than ROUTE, USERSOCK, "
        "SOCK_DIAG, XFRM, AUDIT, FIB_LOOKUP, KOBJECT_UEVENT, GENERIC, CRYPTO",
    .type = image::RecordType::kNetlink,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
