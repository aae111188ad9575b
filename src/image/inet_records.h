// Records of Internet sockets.
#pragma once

#include "base/inet_address.h"
#include "image/fd_records.h"
#include "image/protocol_options.h"

namespace stint::image {

enum class TcpState : uint8_t {
  kUnconnected = 0,  // new, or bound
  kListening = 1,
  kConnecting = 2,
  kConnected = 3,
  kEnded = 4,        // both directions are over, or a reset has been read; what waits in it may still be read
  kRefused = 5,      // connect(2) was refused, and the program has not been told
  kRefusedTold = 6,  // ... and has, by SO_ERROR
  kFailed = 7,       // ... and has, by connect(2): as good as new, but for the address that it shows
};

struct TcpRecord {
  static constexpr const char* kName = "TCP record";
  Description description;
  uint64_t socket = 0;  // inode number
  bool v6 = false;      // an AF_INET6 socket
  TcpState state = TcpState::kUnconnected;
  InetAddress local, remote;  // as the socket shows them; port 0: none
  // Of a connection: the inode number of its other end; 0 when that is closed, or waits in a listener.
  uint64_t peer = 0;
  bool waiting = false;         // the other end waits to be accepted, or to be put among those that do
  uint64_t listener = 0;        // there: its inode number
  uint32_t waiting_for_ms = 0;  // which of them was first
  bool read_shut = false, write_shut = false;
  // Its other end is gone, and it is of a network namespace of its own, where any address is there (net/apart.h).
  bool apart = false;
  Bytes queued;  // what it would receive
  int32_t backlog = 0;
  bool reuse_address = false, reuse_port = false;
  int32_t receive_low_water = 1;
  int32_t peek_offset = -1;  // SO_PEEK_OFF
  SocketBuffers buffers;
  std::vector<ProtocolOption> options;
  template <class A>
  void fields(A& a) {
    a("description", description), a("socket", socket), a("v6", v6), a("state", state), a("local", local);
    a("remote", remote), a("peer", peer), a("waiting", waiting), a("listener", listener);
    a("waiting_for_ms", waiting_for_ms), a("read_shut", read_shut), a("write_shut", write_shut);
    a("apart", apart), a("queued", queued), a("backlog", backlog), a("reuse_address", reuse_address);
    a("reuse_port", reuse_port), a("receive_low_water", receive_low_water), a("peek_offset", peek_offset);
    a("buffers", buffers), a("options", options);
  }
};

// A datagram that waits.
struct DatagramRecord {
  InetAddress from;
  InetAddress to;  // where it was sent; its port is the socket's
  Bytes bytes;
  int32_t segment = 0;                    // not 0: `bytes` are several of this size (UDP_GRO)
  int32_t hops = -1, traffic_class = -1;  // -1: the program is not told
  template <class A>
  void fields(A& a) {
    a("from", from), a("to", to), a("bytes", bytes), a("segment", segment), a("hops", hops);
    a("traffic_class", traffic_class);
  }
};

// A multicast group that the socket has joined.
struct MembershipRecord {
  InetAddress group;
  std::string interface;  // its name
  bool exclude = true;    // listens to all but these, else only to these
  std::vector<InetAddress> sources;
  template <class A>
  void fields(A& a) {
    a("group", group), a("interface", interface), a("exclude", exclude), a("sources", sources);
  }
};

struct UdpRecord {
  static constexpr const char* kName = "UDP record";
  Description description;
  uint64_t socket = 0;  // inode number
  bool v6 = false;      // an AF_INET6 socket
  InetAddress local;    // as the socket shows it; port 0: not bound
  bool connected = false;
  InetAddress remote;
  uint32_t order = 0;    // among sockets that share a port, those with lower ones were bound later
  bool refused = false;  // ECONNREFUSED waits for its next call
  bool read_shut = false, write_shut = false;
  std::vector<DatagramRecord> queued;
  std::vector<MembershipRecord> memberships;
  bool reuse_address = false, reuse_port = false;
  int32_t receive_low_water = 1;
  int32_t peek_offset = -1;  // SO_PEEK_OFF
  SocketFilter filter;
  SocketBuffers buffers;
  std::vector<ProtocolOption> options;
  template <class A>
  void fields(A& a) {
    a("description", description), a("socket", socket), a("v6", v6), a("local", local), a("connected", connected);
    a("remote", remote), a("order", order), a("refused", refused), a("read_shut", read_shut);
    a("write_shut", write_shut), a("queued", queued), a("memberships", memberships);
    a("reuse_address", reuse_address), a("reuse_port", reuse_port), a("receive_low_water", receive_low_water);
    a("peek_offset", peek_offset), a("filter", filter), a("buffers", buffers);
    a("options", options);
  }
};

struct NetlinkRecord {
  static constexpr const char* kName = "netlink record";
  Description description;
  bool raw = false;  // SOCK_RAW; else SOCK_DGRAM: the kernel makes no difference, and shows it
  int32_t protocol = 0;
  uint32_t port = 0;                        // its own number; 0: not bound
  uint32_t peer_port = 0, peer_groups = 0;  // where it is connected; both 0: to the kernel
  std::vector<uint32_t> groups;             // numbers, from 1
  std::string boot;                         // of NETLINK_GENERIC: whose numbers are those of one boot
  int32_t receive_low_water = 1;
  SocketFilter filter;
  SocketBuffers buffers;
  std::vector<ProtocolOption> options;
  template <class A>
  void fields(A& a) {
    a("description", description), a("raw", raw), a("protocol", protocol), a("port", port);
    a("peer_port", peer_port), a("peer_groups", peer_groups), a("groups", groups), a("boot", boot);
    a("receive_low_water", receive_low_water), a("filter", filter);
    a("buffers", buffers), a("options", options);
  }
};

}  // namespace stint::image
