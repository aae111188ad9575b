// Tables of text for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stint::store {

// The columns are as wide as what is in them.
class Table {
 public:
  // As many columns as `head` has; of each, whether it is moved to the right.
  Table(std::vector<std::string> head, std::vector<bool> to_the_right);
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.size() == 1; }
  std::string text() const;

 private:
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

// KiB, rounded up.
std::string kib(uint64_t bytes);
// Control characters in a file's name must not reach a terminal.
std::string printable(std::string text);
// "rw-p", as /proc/PID/maps shows it. `protection`: PROT_*.
std::string protection_text(uint32_t protection, bool shared);

}  // namespace stint::store
