// The lexer of everything in proc/: a cursor over text that the kernel wrote. It never trusts a number: what does not
// fit into 64 bits is no number. Pure: bytes in, values out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace stint::proc {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool done() const { return text_.empty(); }
  std::string_view rest() const { return text_; }

  // Each of these consumes what it names, or nothing at all.
  bool skip(char c);
  bool skip(std::string_view literal);
  void skip_blanks();  // spaces and tabs
  std::optional<char> take();
  // Unsigned numbers without prefix; nothing when there is no digit or it does not fit.
  std::optional<uint64_t> decimal() { return number(10); }
  std::optional<uint64_t> hex() { return number(16); }
  std::optional<uint64_t> octal() { return number(8); }
  // With an optional minus sign.
  std::optional<int64_t> integer();
  // Up to the next blank, which stays.
  std::string_view word();
  // Up to `end`, which is consumed too; nothing when there is none.
  std::optional<std::string_view> until(char end);

 private:
  std::optional<uint64_t> number(unsigned base);

  std::string_view text_;
};

// Takes the first line off `text`, without its newline; nothing when `text` is empty.
std::optional<std::string_view> next_line(std::string_view& text);

// "key:\tvalue" split at the first colon, blanks around the value removed; nothing when there is no colon.
struct KeyValue {
  std::string_view key;
  std::string_view value;
};
std::optional<KeyValue> key_value(std::string_view line);

// A whole field as one number; nothing when anything else is in it.
std::optional<uint64_t> whole_decimal(std::string_view text);
std::optional<int64_t> whole_integer(std::string_view text);
std::optional<uint64_t> whole_hex(std::string_view text);
std::optional<uint64_t> whole_octal(std::string_view text);

// Stores a number if there is one and it fits.
template <class To, class From>
bool store(std::optional<From> from, To& to) {
  if (!from || !std::in_range<To>(*from)) return false;
  to = static_cast<To>(*from);
  return true;
}

// The failure of every parser here: names the file and quotes the line that it did not understand.
Error not_understood(std::string_view file, std::string_view line);

}  // namespace stint::proc
