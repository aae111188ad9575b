// Options of sockets of any family (SOL_SOCKET): those that are not what a fresh socket has are recorded, and set
// again.
#pragma once

#include <vector>

#include "base/result.h"
#include "image/fd_records.h"

namespace stint::fd {

// `fresh`: a socket of the same kind that nobody has touched.
Result<std::vector<image::SocketOption>> changed_options(int fd, int fresh);
Result<> set_options(int fd, const std::vector<image::SocketOption>& options);

// The sizes of both buffers, as SO_SNDBUF and SO_RCVBUF show them. kUnfit where the system's limits are lower.
Result<> set_buffer_sizes(int fd, int send, int receive);

}  // namespace stint::fd
