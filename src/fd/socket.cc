#include "fd/socket.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "net/protocol_options.h"
#include "sys/socket.h"

namespace stint::fd {

bool is_internet_socket(const Facts& facts, int protocol) {
  if (!S_ISSOCK(facts.stat.st_mode)) return false;
  Result<int> domain = sys::socket_option(facts.ours.get(), SO_DOMAIN);
  Result<int> its = sys::socket_option(facts.ours.get(), SO_PROTOCOL);
  bool internet = domain.has_value() && (*domain == AF_INET || *domain == AF_INET6);
  return internet && its.has_value() && *its == protocol;
}

Result<bool> has_filter(const Facts& facts) {
  std::optional<image::SocketFilter> filter = TRY(net::read_filter(facts.ours.get()));
  return !filter || !filter->instructions.empty();
}

Result<image::SocketFilter> shown_filter(const Facts& facts) {
  std::optional<image::SocketFilter> filter = TRY(net::read_filter(facts.ours.get()));
  if (filter) return *std::move(filter);
  return refusal(facts, "it has a filter that the kernel does not show (eBPF)", "take the filter away");
}

}  // namespace stint::fd
