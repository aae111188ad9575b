#include "net/holder.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>

#include "proc/netlink.h"
#include "sys/file.h"
#include "sys/holder.h"
#include "sys/procfs.h"
#include "sys/sock_diag.h"

namespace stint::net {
namespace {

Result<std::string> name_of_process_with(uint64_t inode) {
  std::vector<Pid> holders = TRY(sys::processes_with(fmt::format("socket:[{}]", inode)));
  if (holders.empty()) return std::string("a process that does not show from here (ss -anp tells root)");
  return sys::title_of(holders.front());
}

bool in_the_way(const sys::InetSocket& socket, const InetAddress& address) {
  return socket.local.any() || address.any() || same_place(socket.local.with_port(0), address.with_port(0));
}

Result<std::string> look_for(int protocol, const InetAddress& address) {
  sys::SockDiag diag = TRY(sys::SockDiag::open());
  std::vector<sys::InetSocket> sockets = TRY(diag.all(protocol, ~0u));
  std::erase_if(sockets,
                [&](auto& socket) { return socket.local.port != address.port || !in_the_way(socket, address); });
  std::ranges::sort(sockets, std::greater(), &sys::InetSocket::inode);
  if (sockets.empty()) return std::string("somebody who does not show");
  if (sockets[0].inode == 0) {
    uint32_t ms = 0;
    for (const sys::InetSocket& socket : sockets) ms = std::max(ms, socket.expires_ms);
    return fmt::format("a connection that ended, for {} s more", ms / 1000 + 1);
  }
  return name_of_process_with(sockets[0].inode);
}

Result<std::string> look_for_netlink(int protocol, uint32_t port) {
  for (const proc::NetlinkSocket& socket : TRY(proc::parse_netlink(TRY(sys::read_whole("/proc/self/net/netlink")))))
    if (socket.protocol == protocol && socket.port == port) return name_of_process_with(socket.inode);
  return std::string("somebody who does not show");
}

}  // namespace

std::string holder_of(int protocol, const InetAddress& address) {
  return look_for(protocol, address).value_or("somebody");
}

std::string holder_of_netlink(int protocol, uint32_t port) {
  return look_for_netlink(protocol, port).value_or("somebody");
}

}  // namespace stint::net
