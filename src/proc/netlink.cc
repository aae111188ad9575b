#include "proc/netlink.h"

#include <array>

#include "proc/scan.h"

namespace stint::proc {
namespace {

// "0000000000000000 15  3424142094 00000001 0        0        0        2        0        4242    ": sk, Eth, Pid,
// Groups, Rmem, Wmem, Dump, Locks, Drops, Inode.
bool read_line(std::string_view line, NetlinkSocket& socket) {
  Scanner scanner(line);
  std::array<std::optional<uint64_t>, 10> columns;
  for (size_t i = 0; i < columns.size(); ++i) {
    scanner.skip_blanks();
    bool in_hex = i == 0 || i == 3;
    columns[i] = in_hex ? scanner.hex() : scanner.decimal();
    // A pointer may be printed as words: "(____ptrval____)".
    if (i == 0 && !columns[0]) scanner.word();
    if (i != 0 && !columns[i]) return false;
  }
  socket.protocol = static_cast<int>(*columns[1]);
  socket.port = static_cast<uint32_t>(*columns[2]);
  socket.dumps = *columns[6] != 0;
  socket.inode = *columns[9];
  return true;
}

}  // namespace

Result<std::vector<NetlinkSocket>> parse_netlink(std::string_view text) {
  std::vector<NetlinkSocket> sockets;
  Scanner lines(text);
  lines.until('\n');  // the titles of the columns
  while (std::optional<std::string_view> line = lines.until('\n')) {
    NetlinkSocket socket;
    if (!read_line(*line, socket)) return failed("netlink: a line that cannot be read");
    sockets.push_back(socket);
  }
  return sockets;
}

}  // namespace stint::proc
