#include "store/table.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>

namespace stint::store {

Table::Table(std::vector<std::string> head, std::vector<bool> to_the_right) : right_(std::move(to_the_right)) {
  rows_.push_back(std::move(head));
}

std::string Table::text() const {
  std::vector<size_t> width(right_.size(), 0);
  for (const std::vector<std::string>& row : rows_)
    for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  std::string out;
  for (const std::vector<std::string>& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i)
      line += right_[i] ? fmt::format("{:>{}}  ", row[i], width[i]) : fmt::format("{:<{}}  ", row[i], width[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string kib(uint64_t bytes) { return fmt::format("{}", (bytes + 1023) / 1024); }

std::string printable(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

std::string protection_text(uint32_t protection, bool shared) {
  return fmt::format("{}{}{}{}", (protection & PROT_READ) != 0 ? 'r' : '-', (protection & PROT_WRITE) != 0 ? 'w' : '-',
                     (protection & PROT_EXEC) != 0 ? 'x' : '-', shared ? 's' : 'p');
}

}  // namespace stint::store
