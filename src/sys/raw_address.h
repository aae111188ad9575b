// Internet addresses as the kernel takes and gives them.
#pragma once

#include <sys/socket.h>

#include "base/inet_address.h"
#include "base/result.h"

namespace stint::sys {

struct RawAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  sockaddr* pointer() { return reinterpret_cast<sockaddr*>(&storage); }
};

RawAddress to_raw(const InetAddress& address);
Result<InetAddress> from_raw(const RawAddress& raw);

}  // namespace stint::sys
