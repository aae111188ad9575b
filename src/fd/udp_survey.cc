#include "fd/udp_survey.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "sys/inet.h"
#include "sys/procfs.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

void append(std::vector<proc::Group>& all, const std::vector<proc::Group>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

}  // namespace

Result<std::shared_ptr<const UdpSurvey>> UdpSurvey::make(const CaptureContext& context, Pid process) {
  std::shared_ptr<UdpSurvey> survey = std::make_shared<UdpSurvey>();
  // The kernel lists those of one port with the last that was bound first.
  uint32_t order = 0;
  for (const sys::InetSocket& socket : TRY(TRY(sys::SockDiag::open()).all(IPPROTO_UDP, ~0u)))
    if (socket.inode != 0) survey->seen_[socket.inode] = {socket, ++order};
  for (const auto& [inode, facts] : context.by_inode) {
    auto seen = survey->seen_.find(inode);
    if (seen != survey->seen_.end()) survey->ours_.push_back(seen->second.socket.local);
  }
  append(survey->groups_, TRY(proc::parse_igmp(TRY(sys::read_proc(process, "net/igmp")))));
  Result<std::string> igmp6 = sys::read_proc(process, "net/igmp6");  // none where IPv6 is switched off
  if (igmp6.has_value()) append(survey->groups_, TRY(proc::parse_igmp6(*igmp6)));
  return std::shared_ptr<const UdpSurvey>(std::move(survey));
}

const UdpSurvey::Seen* UdpSurvey::find(uint64_t inode) const {
  auto found = seen_.find(inode);
  return found != seen_.end() ? &found->second : nullptr;
}

bool UdpSurvey::has(const InetAddress& address) const {
  return std::ranges::any_of(ours_, [&](const InetAddress& own) {
    return own.port == address.port && (own.any() || same_place(own, address));
  });
}

}  // namespace stint::fd
