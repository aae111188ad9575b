// Where a connection is made again whose other end is gone, and was on another host or in another program: in a network
// namespace that has nothing but the two addresses. So an ordinary user gets both as they were, whether or not this
// host has them and whoever uses them here by now; and once the other end is closed TCP itself answers as the host of a
// process that has ended does: a FIN, and a reset to whatever is sent after it.
//
// What a program could tell: connected anew, after a disconnect, the socket reaches nobody.
#pragma once

#include "net/tcp_connect.h"

namespace stint::net {

class Apart {
 public:
  static Result<Apart> make();
  // The place, in there.
  Result<Place> place(Place place) const;

 private:
  explicit Apart(sys::UniqueFd network) : network_(std::move(network)) {}
  sys::UniqueFd network_;
};

}  // namespace stint::net
