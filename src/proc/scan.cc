#include "proc/scan.h"

#include <fmt/format.h>

namespace stint::proc {
namespace {

bool blank(char c) { return c == ' ' || c == '\t'; }

// The value of a digit, or 255.
unsigned digit_value(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A') + 10;
  return 255;
}

template <class T>
std::optional<T> whole(const Scanner& scanner, std::optional<T> value) {
  return scanner.done() ? value : std::nullopt;
}

}  // namespace

bool Scanner::skip(char c) {
  if (text_.empty() || text_.front() != c) return false;
  text_.remove_prefix(1);
  return true;
}

bool Scanner::skip(std::string_view literal) {
  if (!text_.starts_with(literal)) return false;
  text_.remove_prefix(literal.size());
  return true;
}

void Scanner::skip_blanks() {
  while (!text_.empty() && blank(text_.front())) text_.remove_prefix(1);
}

std::optional<char> Scanner::take() {
  if (text_.empty()) return std::nullopt;
  char c = text_.front();
  text_.remove_prefix(1);
  return c;
}

std::optional<uint64_t> Scanner::number(unsigned base) {
  uint64_t value = 0;
  size_t length = 0;
  for (; length < text_.size(); ++length) {
    unsigned digit = digit_value(text_[length]);
    if (digit >= base) break;
    if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value))
      return std::nullopt;
  }
  if (length == 0) return std::nullopt;
  text_.remove_prefix(length);
  return value;
}

std::optional<int64_t> Scanner::integer() {
  std::string_view before = text_;
  bool negative = skip('-');
  std::optional<uint64_t> magnitude = decimal();
  uint64_t limit = static_cast<uint64_t>(INT64_MAX) + (negative ? 1 : 0);
  if (!magnitude || *magnitude > limit) {
    text_ = before;
    return std::nullopt;
  }
  return static_cast<int64_t>(negative ? 0 - *magnitude : *magnitude);
}

std::string_view Scanner::word() {
  size_t length = 0;
  while (length < text_.size() && !blank(text_[length])) ++length;
  std::string_view found = text_.substr(0, length);
  text_.remove_prefix(length);
  return found;
}

std::optional<std::string_view> Scanner::until(char end) {
  size_t position = text_.find(end);
  if (position == std::string_view::npos) return std::nullopt;
  std::string_view found = text_.substr(0, position);
  text_.remove_prefix(position + 1);
  return found;
}

std::optional<std::string_view> next_line(std::string_view& text) {
  if (text.empty()) return std::nullopt;
  size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

std::optional<KeyValue> key_value(std::string_view line) {
  size_t colon = line.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view key = line.substr(0, colon);
  while (!key.empty() && blank(key.back())) key.remove_suffix(1);
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && blank(value.front())) value.remove_prefix(1);
  while (!value.empty() && blank(value.back())) value.remove_suffix(1);
  return KeyValue{key, value};
}

std::optional<uint64_t> whole_decimal(std::string_view text) {
  Scanner scanner(text);
  std::optional<uint64_t> value = scanner.decimal();
  return whole(scanner, value);
}

std::optional<int64_t> whole_integer(std::string_view text) {
  Scanner scanner(text);
  std::optional<int64_t> value = scanner.integer();
  return whole(scanner, value);
}

std::optional<uint64_t> whole_hex(std::string_view text) {
  Scanner scanner(text);
  std::optional<uint64_t> value = scanner.hex();
  return whole(scanner, value);
}

std::optional<uint64_t> whole_octal(std::string_view text) {
  Scanner scanner(text);
  std::optional<uint64_t> value = scanner.octal();
  return whole(scanner, value);
}

Error not_understood(std::string_view file, std::string_view line) {
  return failed(fmt::format("/proc/PID/{}: cannot understand \"{}\"", file, line.substr(0, 200)));
}

}  // namespace stint::proc
