#include "proc/multicast.h"

#include <cstring>

#include "proc/scan.h"

namespace stint::proc {
namespace {

// "1\tlo        :     1      V3" and, indented below it, "\t\t\t\t010000E0     1 0:00000000\t\t0": the address as it
// lies in memory, read as one number.
bool read_igmp_line(std::string_view line, uint32_t& interface, std::vector<Group>& groups) {
  Scanner scanner(line);
  bool indented = scanner.skip('\t');
  scanner.skip_blanks();
  std::optional<uint64_t> number = indented ? scanner.hex() : scanner.decimal();
  if (!number || *number > UINT32_MAX) return false;
  uint32_t value = static_cast<uint32_t>(*number);
  if (!indented) {
    interface = value;
    return true;
  }
  Group group{.interface = interface, .address = {}};
  std::memcpy(group.address.host.data(), &value, sizeof(value));
  groups.push_back(group);
  return interface != 0;
}

// "4    eth0            ff0200000000000000000001ff000002     1 00000004 0"
bool read_igmp6_line(std::string_view line, std::vector<Group>& groups) {
  Scanner scanner(line);
  std::optional<uint64_t> interface = scanner.decimal();
  scanner.skip_blanks();
  scanner.word();
  scanner.skip_blanks();
  std::string_view address = scanner.word();
  if (!interface || *interface > UINT32_MAX || address.size() != 32) return false;
  Group group{.interface = static_cast<uint32_t>(*interface), .address = {.v6 = true}};
  for (size_t i = 0; i < 16; ++i) {
    std::string_view digits = address.substr(2 * i, 2);
    Scanner byte(digits);
    std::optional<uint64_t> value = byte.hex();
    if (!value || !byte.done()) return false;
    group.address.host[i] = static_cast<uint8_t>(*value);
  }
  groups.push_back(group);
  return true;
}

}  // namespace

Result<std::vector<Group>> parse_igmp(std::string_view text) {
  std::vector<Group> groups;
  Scanner lines(text);
  lines.until('\n');  // the titles of the columns
  uint32_t interface = 0;
  while (std::optional<std::string_view> line = lines.until('\n'))
    if (!read_igmp_line(*line, interface, groups)) return failed("igmp: a line that cannot be read");
  return groups;
}

Result<std::vector<Group>> parse_igmp6(std::string_view text) {
  std::vector<Group> groups;
  Scanner lines(text);
  while (std::optional<std::string_view> line = lines.until('\n'))
    if (!read_igmp6_line(*line, groups)) return failed("igmp6: a line that cannot be read");
  return groups;
}

}  // namespace stint::proc
