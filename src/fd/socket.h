// What sockets of several families and protocols have in common.
#pragma once

#include <optional>

#include "fd/kind.h"
#include "image/protocol_options.h"

namespace stint::fd {

// `protocol`: IPPROTO_TCP, IPPROTO_UDP; over IPv4 or IPv6.
bool is_internet_socket(const Facts& facts, int protocol);

// Whether a program looks at what arrives in it (SO_ATTACH_FILTER).
Result<bool> has_filter(const Facts& facts);
// The program that looks at what arrives in it, of a netlink socket too; refused when the kernel does not show it.
Result<image::SocketFilter> shown_filter(const Facts& facts);

// The sockets of one protocol are made all together, when the first of them is asked for: `made` is theirs, by inode
// number of old, and the one of `record` is taken from it.
template <class Record>
using Rebuild = Result<std::map<uint64_t, sys::UniqueFd>> (*)(const std::vector<Record>&);
template <class Record>
Result<sys::UniqueFd> take_rebuilt(ByteView bytes, const Kind& kind, const image::Source& source,
                                   Rebuild<Record> rebuild, std::optional<std::map<uint64_t, sys::UniqueFd>>& made) {
  if (!made) {
    std::vector<Record> records;
    for (const image::Record& record : source.records())
      if (record.type == kind.type) records.push_back(TRY(image::decode<Record>(record.payload)));
    made = TRY(rebuild(records));
  }
  auto found = made->find(TRY(image::decode<Record>(bytes)).socket);
  if (found == made->end()) return damaged(std::string(kind.name) + " record: a socket that is there twice");
  sys::UniqueFd fd = std::move(found->second);
  made->erase(found);
  return fd;
}

}  // namespace stint::fd
