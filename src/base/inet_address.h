// An Internet address and port, as sockets and records share it. An IPv4 address that an IPv6 socket shows mapped
// (::ffff:127.0.0.1) stays what the socket shows; same_place() tells that both lead to one place.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <string>

namespace stint {

struct InetAddress {
  bool v6 = false;
  std::array<uint8_t, 16> host = {};  // in network order; IPv4: the first four
  uint16_t port = 0;
  uint32_t scope = 0;  // of a link-local address: the index of its interface

  auto operator<=>(const InetAddress&) const = default;
  template <class A>
  void fields(A& a) {
    a("v6", v6), a("host", host), a("port", port), a("scope", scope);
  }
  bool mapped() const {
    constexpr std::array<uint8_t, 12> kPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return v6 && std::equal(kPrefix.begin(), kPrefix.end(), host.begin());
  }
  bool any() const {
    InetAddress plain = unmapped();
    return plain.host == std::array<uint8_t, 16>{};
  }
  // IPv4 where it is that.
  InetAddress unmapped() const {
    if (!mapped()) return *this;
    InetAddress plain;
    for (size_t i = 0; i < 4; ++i) plain.host[i] = host[12 + i];
    plain.port = port;
    return plain;
  }
  // As a socket of the other family shows it.
  InetAddress as_v6() const {
    if (v6) return *this;
    InetAddress shown{.v6 = true, .port = port};
    shown.host[10] = shown.host[11] = 0xff;
    for (size_t i = 0; i < 4; ++i) shown.host[12 + i] = host[i];
    return shown;
  }
  InetAddress with_port(uint16_t other) const {
    InetAddress changed = *this;
    changed.port = other;
    return changed;
  }
};

inline bool same_place(const InetAddress& a, const InetAddress& b) { return a.unmapped() == b.unmapped(); }

// "127.0.0.1:80", "[::1]:80".
std::string to_text(const InetAddress& address);

}  // namespace stint
