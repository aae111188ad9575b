// Programs that look at what arrives in a socket (SO_ATTACH_FILTER), as bytes.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"

namespace stint::sys {

// Empty: there is none. Nothing: there is one that the kernel does not show (an eBPF program).
Result<std::optional<Bytes>> socket_filter(int fd);
// Replaces the one that is there; empty: takes it away.
Result<> set_socket_filter(int fd, ByteView instructions);
// Nothing arrives any more until the filter is set again.
Result<> drop_what_arrives(int fd);
// Of UDP: nothing but from this port.
Result<> let_arrive_from(int fd, uint16_t port);

}  // namespace stint::sys
