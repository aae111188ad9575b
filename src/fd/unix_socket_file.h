// The file of a bound unix socket. bind(2) makes it and it stays when the socket is closed, so a restart removes the
// old one and binds anew: the same name, permissions and owner, another inode number. The kernel tells the inode number
// of the file, not where it is.
#pragma once

#include <optional>

#include "fd/kind.h"

namespace stint::fd {

// Where a name that is a path leads, from where the process stands.
Result<std::string> absolute_socket_path(const Facts& facts, const std::string& name);

// Nothing when the file is gone: then nobody can reach the socket by its name. `inode`: as sock_diag has it.
Result<std::optional<image::SocketFile>> find_socket_file(const Facts& facts, const std::string& name, uint32_t inode);

// Binds the socket and makes its file what it was. Gives an O_PATH descriptor of the file. An old socket file that
// nobody is bound to any more is replaced; anything else there is kUnfit.
Result<sys::UniqueFd> bind_with_file(int socket, const std::string& name, const image::SocketFile& file);

// Binds the socket to a path that leads nowhere. Gives an O_PATH descriptor of the file, the only way to it.
Result<sys::UniqueFd> bind_without_file(int socket, const std::string& name);

}  // namespace stint::fd
