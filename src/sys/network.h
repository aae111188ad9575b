// Network namespaces that no process is in. A socket keeps the one that it was made in, and with it the addresses and
// abstract names that are there: so one whose peer is gone can have addresses that this host does not have, or that are
// another program's.
#pragma once

#include <optional>

#include "base/inet_address.h"
#include "base/remote.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

// A new one, with a loopback interface that is up and nothing else. Without CAP_SYS_ADMIN it comes with a user
// namespace of its own, over which we have every power. The caller is single-threaded.
Result<UniqueFd> make_network();

// A socket that is made in there. EPERM without power over the namespace.
Result<UniqueFd> socket_in(int network, int domain, int type, int protocol);

// Gives its loopback interface an address, unless it has that.
Result<> add_loopback_address(int network, const InetAddress& address);

// The network namespace of a socket, where that is not the one of the process that has it. Nothing also where we have
// no power over it (SIOCGSKNS needs CAP_NET_ADMIN), which we have over those that make_network() made for this user.
Result<std::optional<UniqueFd>> foreign_network(int socket, Pid process);

}  // namespace stint::sys
