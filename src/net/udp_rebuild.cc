#include "net/udp_rebuild.h"

#include <fmt/format.h>
#include <linux/socket.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "net/local_port.h"
#include "net/protocol_options.h"
#include "net/udp_queue.h"
#include "sys/descriptor.h"
#include "sys/inet.h"
#include "sys/multicast.h"
#include "sys/socket.h"
#include "sys/socket_filter.h"

namespace stint::net {
namespace {

using image::UdpRecord;

std::string title(const UdpRecord& record) {
  std::string text = "UDP socket";
  if (record.local.port != 0) text += " at " + to_text(record.local);
  if (record.connected) text += ", connected to " + to_text(record.remote);
  return text;
}

class Rebuild {
 public:
  explicit Rebuild(const std::vector<UdpRecord>& records) {
    for (const UdpRecord& record : records) records_.push_back(&record), ++sharing_[record.local.port];
    // In the order in which they were bound: what comes to a shared port goes to the last.
    std::ranges::stable_sort(records_, std::greater(), &UdpRecord::order);
  }

  Result<std::map<uint64_t, sys::UniqueFd>> run() {
    TRY(each(&Rebuild::make));
    TRY(each(&Rebuild::connect));
    TRY(each(&Rebuild::join));
    TRY(each(&Rebuild::set_all));
    return std::move(made_);
  }

 private:
  Result<> each(Result<> (Rebuild::*step)(const UdpRecord&)) {
    for (const UdpRecord* record : records_) TRY((this->*step)(*record).in(title(*record)));
    return {};
  }

  // See net/local_port.h.
  bool chosen_by_kernel(const UdpRecord& record) const {
    return record.connected && record.queued.empty() && sharing_.at(record.local.port) == 1 &&
           is_ephemeral(record.local.port);
  }

  Result<> make(const UdpRecord& record) {
    bool choose = chosen_by_kernel(record);
    sys::UniqueFd fd = TRY(make_socket(record));
    if (!choose || !TRY(choose_port(fd.get(), record.local.port))) TRY(bind(fd.get(), record));
    // Before another is bound to its address.
    if (!record.queued.empty()) TRY(fill(fd.get(), record));
    made_[record.socket] = std::move(fd);
    return {};
  }

  static Result<sys::UniqueFd> make_socket(const UdpRecord& record) {
    sys::UniqueFd fd = TRY(sys::socket(record.v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_UDP));
    TRY(set_options(fd.get(), record.options, When::kNew));
    // Until it is connected, it is open to all.
    if (record.connected) TRY(sys::drop_what_arrives(fd.get()));
    return fd;
  }

  Result<> bind(int fd, const UdpRecord& record) {
    if (record.local.port == 0 && record.local.any()) return {};
    if (record.reuse_port) TRY(sys::set_socket_option(fd, SO_REUSEPORT, 1));
    if (sharing_.at(record.local.port) > 1) TRY(sys::set_socket_option(fd, SO_REUSEADDR, 1));
    Result<> bound = sys::bind(fd, record.local);
    if (!bound.has_value()) return not_free(IPPROTO_UDP, record.local, std::move(bound).error());
    if (record.reuse_port) ++members_[record.local];
    // Nobody else gets in before: those of the job, and whoever sends for them, do.
    return sys::set_socket_option(fd, SO_REUSEADDR, 1);
  }

  Result<> fill(int fd, const UdpRecord& record) {
    if (record.reuse_port) TRY(sys::choose_member(fd, members_.at(record.local) - 1));
    TRY(fill_with_datagrams(fd, record.local, record.queued));
    if (record.reuse_port) TRY(sys::choose_member(fd, std::nullopt));
    TRY(sys::set_receive_buffer(fd, record.buffers.receive));
    TRY(unlock_buffers(fd, record));
    return record.connected ? Result<>() : sys::set_socket_filter(fd, {});
  }

  static Result<> unlock_buffers(int fd, const UdpRecord& record) {
    int locks =
        (record.buffers.send_locked ? SOCK_SNDBUF_LOCK : 0) | (record.buffers.receive_locked ? SOCK_RCVBUF_LOCK : 0);
    return sys::set_socket_option(fd, SO_BUF_LOCK, locks);
  }

  Result<> connect(const UdpRecord& record) {
    if (!record.connected) return {};
    TRY(connect_once(record));
    int fd = made_.at(record.socket).get();
    if (!same_place(TRY(sys::own_address(fd)), record.local)) {
      // The kernel would not have chosen this address: the program has.
      made_[record.socket] = TRY(make_socket(record));
      fd = made_.at(record.socket).get();
      TRY(bind(fd, record));
      TRY(connect_once(record));
    }
    return sys::set_socket_filter(fd, {});
  }

  Result<> connect_once(const UdpRecord& record) {
    int fd = made_.at(record.socket).get();
    if (record.refused) TRY(have_refused(fd, record));
    Result<bool> connected = sys::connect(fd, record.remote);
    (void)choose_port(fd, 0);
    if (connected.has_value()) return {};
    // Where the port that was to be chosen is taken, the kernel says EAGAIN.
    Error error = std::move(connected).error();
    if (error.os_errno() == EAGAIN) error = os_error("connect", EADDRINUSE);
    return not_free(IPPROTO_UDP, record.local, std::move(error));
  }

  // An error of the same sort: what is sent to a port that was closed a moment ago comes back at once.
  static Result<> have_refused(int fd, const UdpRecord& record) {
    sys::UniqueFd closed = TRY(sys::socket(record.v6 ? AF_INET6 : AF_INET, SOCK_DGRAM, IPPROTO_UDP));
    TRY(sys::bind(closed.get(), record.remote.with_port(0)));
    InetAddress nobody = TRY(sys::own_address(closed.get()));
    closed.reset();
    TRY(sys::connect(fd, nobody));
    TRY(sys::send_datagram(fd, {}, std::nullopt));
    if ((TRY(sys::poll_now(fd, 0)) & POLLERR) != 0) return {};
    return failed("the refusal that waited in it does not come again");
  }

  Result<> join(const UdpRecord& record) {
    for (const image::MembershipRecord& joined : record.memberships) {
      Result<uint32_t> interface = sys::interface_index(joined.interface);
      if (!interface.has_value())
        return unfit(fmt::format("it listens to {} on the network interface {}, which is not here",
                                 to_text(joined.group), joined.interface));
      sys::SourceFilter filter{.exclude = joined.exclude, .sources = joined.sources};
      TRY(sys::join(made_.at(record.socket).get(), *interface, joined.group, filter));
    }
    return {};
  }

  Result<> set_all(const UdpRecord& record) {
    int fd = made_.at(record.socket).get();
    TRY(set_buffers(fd, record.buffers));
    TRY(set_options(fd, record.options, When::kInUse));
    TRY(set_filter(fd, record.filter));
    if (record.read_shut) TRY(shut(fd, SHUT_RD));
    if (record.write_shut) TRY(shut(fd, SHUT_WR));
    TRY(sys::set_socket_option(fd, SO_REUSEPORT, record.reuse_port ? 1 : 0));
    TRY(sys::set_socket_option(fd, SO_REUSEADDR, record.reuse_address ? 1 : 0));
    if (record.receive_low_water != 1) TRY(sys::set_socket_option(fd, SO_RCVLOWAT, record.receive_low_water));
    if (record.peek_offset >= 0) TRY(sys::set_socket_option(fd, SO_PEEK_OFF, record.peek_offset));
    return {};
  }

  // One that is not connected is shut down all the same when the kernel says that it is not.
  static Result<> shut(int fd, int how) {
    Result<> done = sys::shut_down(fd, how);
    if (!done.has_value() && done.error().os_errno() == ENOTCONN) return {};
    return done;
  }

  std::vector<const UdpRecord*> records_;
  std::map<uint16_t, size_t> sharing_;       // how many have the port
  std::map<InetAddress, uint32_t> members_;  // of a SO_REUSEPORT group, so far
  std::map<uint64_t, sys::UniqueFd> made_;   // by inode number
};

}  // namespace

Result<std::map<uint64_t, sys::UniqueFd>> rebuild_udp(const std::vector<UdpRecord>& records) {
  return Rebuild(records).run();
}

}  // namespace stint::net
