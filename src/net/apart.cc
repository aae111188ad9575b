#include "net/apart.h"

#include "sys/network.h"

namespace stint::net {

Result<Apart> Apart::make() { return Apart(TRY(sys::make_network())); }

Result<Place> Apart::place(Place place) const {
  TRY(sys::add_loopback_address(network_.get(), place.address));
  place.network = network_.get();
  return place;
}

}  // namespace stint::net
