// Byte buffers and the little arithmetic on pages that every directory needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace stint {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

inline constexpr uint64_t kPageSize = 4096;  // x86-64 has no other base page.
inline constexpr uint64_t kHugePageSize = 2 << 20;

constexpr uint64_t page_down(uint64_t address) { return address & ~(kPageSize - 1); }
constexpr uint64_t page_up(uint64_t address) { return page_down(address + kPageSize - 1); }

inline ByteView bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view text_of(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// A half-open range of addresses, of the program or of a file.
struct Range {
  uint64_t start = 0;
  uint64_t end = 0;

  uint64_t size() const { return end - start; }
  bool empty() const { return end <= start; }
  bool contains(uint64_t address) const { return address >= start && address < end; }
  bool overlaps(const Range& other) const { return start < other.end && other.start < end; }
  bool operator==(const Range&) const = default;
};

}  // namespace stint
