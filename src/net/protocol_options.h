// The options of Internet and netlink sockets that are read and set again as they are, whatever they mean. Recorded is
// what differs from a new socket of the same sort, so that a checkpoint is small and a default of the next host stays a
// default. Left to the kinds: what changes with the traffic (buffers), what stands in the way of a restore
// (SO_REUSEADDR), what needs an order (SO_PEEK_OFF).
#pragma once

#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "base/result.h"
#include "image/protocol_options.h"

namespace stint::net {

// Reads options; knows what new sockets have.
class OptionReader {
 public:
  Result<std::vector<image::ProtocolOption>> read(int fd);

 private:
  using Sort = std::tuple<int, int, int>;  // domain, type, protocol
  std::map<Sort, std::vector<image::ProtocolOption>> defaults_;
};

Result<image::SocketBuffers> read_buffers(int fd);
// Only those that are locked; the kernel sizes the others by itself again.
Result<> set_buffers(int fd, const image::SocketBuffers& buffers);

// Nothing when it has a filter that the kernel does not show (an eBPF program).
Result<std::optional<image::SocketFilter>> read_filter(int fd);
Result<> set_filter(int fd, const image::SocketFilter& filter);

enum class When {
  kNew,    // the socket has neither address nor peer: all of them
  kInUse,  // it is connected: but for those that it cannot have changed any more
};
// kUnfit names an option that this kernel does not know, or this user may not set.
Result<> set_options(int fd, const std::vector<image::ProtocolOption>& options, When when);

}  // namespace stint::net
