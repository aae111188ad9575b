#include "sys/netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include "sys/call.h"

namespace stint::sys {
namespace {

constexpr int kLevel = 270;  // SOL_NETLINK

sockaddr_nl to_raw(const NetlinkAddress& address) {
  sockaddr_nl raw{};
  raw.nl_family = AF_NETLINK;
  raw.nl_pid = address.port, raw.nl_groups = address.groups;
  return raw;
}

template <class Call>
Result<NetlinkAddress> ask(const char* name, Call get) {
  sockaddr_nl raw{};
  socklen_t size = sizeof(raw);
  TRY(call(name, [&] { return get(reinterpret_cast<sockaddr*>(&raw), &size); }));
  return NetlinkAddress{.port = raw.nl_pid, .groups = raw.nl_groups};
}

}  // namespace

Result<NetlinkAddress> netlink_address(int fd) {
  return ask("getsockname", [fd](sockaddr* to, socklen_t* size) { return ::getsockname(fd, to, size); });
}

Result<NetlinkAddress> netlink_peer(int fd) {
  return ask("getpeername", [fd](sockaddr* to, socklen_t* size) { return ::getpeername(fd, to, size); });
}

Result<> bind_netlink(int fd, uint32_t port) {
  sockaddr_nl raw = to_raw({.port = port});
  TRY(call("bind", [&] { return ::bind(fd, reinterpret_cast<sockaddr*>(&raw), sizeof(raw)); }));
  return {};
}

Result<> connect_netlink(int fd, const NetlinkAddress& to) {
  sockaddr_nl raw = to_raw(to);
  TRY(call("connect", [&] { return ::connect(fd, reinterpret_cast<sockaddr*>(&raw), sizeof(raw)); }));
  return {};
}

Result<std::vector<uint32_t>> netlink_groups(int fd) {
  std::vector<uint32_t> words(64);
  socklen_t size = static_cast<socklen_t>(words.size() * sizeof(uint32_t));
  auto get = [&] { return ::getsockopt(fd, kLevel, NETLINK_LIST_MEMBERSHIPS, words.data(), &size); };
  TRY(call("NETLINK_LIST_MEMBERSHIPS", get));
  // It says how many bytes there are to be told.
  if (size > words.size() * sizeof(uint32_t)) {
    words.resize(size / sizeof(uint32_t));
    TRY(call("NETLINK_LIST_MEMBERSHIPS", get));
  }
  std::vector<uint32_t> groups;
  for (uint32_t i = 0; i < size * 8; ++i)
    if ((words[i / 32] >> i % 32 & 1) != 0) groups.push_back(i + 1);
  return groups;
}

Result<> join_netlink_group(int fd, uint32_t group) {
  TRY(call("NETLINK_ADD_MEMBERSHIP",
           [&] { return ::setsockopt(fd, kLevel, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)); }));
  return {};
}

}  // namespace stint::sys
