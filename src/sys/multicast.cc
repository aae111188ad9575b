#include "sys/multicast.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "base/bytes.h"
#include "sys/call.h"
#include "sys/raw_address.h"

namespace stint::sys {
namespace {

constexpr uint32_t kMostSources = 64;  // twice net.ipv4.igmp_max_msf's and net.ipv6.mld_max_msf's default

int level_of(const InetAddress& group) { return group.v6 ? IPPROTO_IPV6 : IPPROTO_IP; }

Result<> join_group(int fd, uint32_t interface, const InetAddress& group) {
  group_req request{};
  request.gr_interface = interface;
  request.gr_group = to_raw(group).storage;
  TRY(call("MCAST_JOIN_GROUP",
           [&] { return ::setsockopt(fd, level_of(group), MCAST_JOIN_GROUP, &request, sizeof(request)); }));
  return {};
}

Result<> add_source(int fd, int option, uint32_t interface, const InetAddress& group, const InetAddress& source) {
  group_source_req request{};
  request.gsr_interface = interface;
  request.gsr_group = to_raw(group).storage;
  request.gsr_source = to_raw(source).storage;
  TRY(call("MCAST_JOIN_SOURCE_GROUP",
           [&] { return ::setsockopt(fd, level_of(group), option, &request, sizeof(request)); }));
  return {};
}

}  // namespace

Result<std::optional<SourceFilter>> membership(int fd, uint32_t interface, const InetAddress& group) {
  Bytes space(GROUP_FILTER_SIZE(kMostSources));
  group_filter head{};
  head.gf_interface = interface;
  head.gf_group = to_raw(group).storage;
  head.gf_numsrc = kMostSources;
  std::memcpy(space.data(), &head, sizeof(head));
  socklen_t size = static_cast<socklen_t>(space.size());
  Result<long> got =
      call("MCAST_MSFILTER", [&] { return ::getsockopt(fd, level_of(group), MCAST_MSFILTER, space.data(), &size); });
  if (!got.has_value()) {
    int why = got.error().os_errno();
    if (why == EADDRNOTAVAIL || why == ENOPROTOOPT || why == EINVAL) return std::optional<SourceFilter>();
    return std::move(got).error();
  }
  std::memcpy(&head, space.data(), sizeof(head));
  if (head.gf_numsrc > kMostSources) return failed("MCAST_MSFILTER: more sources than can be told");
  SourceFilter filter{.exclude = head.gf_fmode == MCAST_EXCLUDE};
  for (uint32_t i = 0; i < head.gf_numsrc; ++i) {
    RawAddress source;
    std::memcpy(&source.storage, space.data() + GROUP_FILTER_SIZE(i), sizeof(source.storage));
    filter.sources.push_back(TRY(from_raw(source)).with_port(0));
  }
  return std::optional(std::move(filter));
}

Result<> join(int fd, uint32_t interface, const InetAddress& group, const SourceFilter& filter) {
  if (filter.exclude) TRY(join_group(fd, interface, group));
  int option = filter.exclude ? MCAST_BLOCK_SOURCE : MCAST_JOIN_SOURCE_GROUP;
  for (const InetAddress& source : filter.sources) TRY(add_source(fd, option, interface, group, source));
  return {};
}

Result<std::string> interface_name(uint32_t index) {
  char name[IF_NAMESIZE] = {};
  if (::if_indextoname(index, name) == nullptr) return os_error("if_indextoname");
  return std::string(name);
}

Result<uint32_t> interface_index(const std::string& name) {
  uint32_t index = ::if_nametoindex(name.c_str());
  if (index == 0) return os_error("if_nametoindex");
  return index;
}

}  // namespace stint::sys
