#include "proc/mountinfo.h"

#include <sys/sysmacros.h>

#include "proc/scan.h"

namespace stint::proc {
namespace {

bool octal_digit(char c) { return c >= '0' && c <= '7'; }

std::string unescape(std::string_view shown) {
  std::string text;
  for (size_t i = 0; i < shown.size(); ++i) {
    std::string_view code = shown.substr(i, 4);
    if (code.size() == 4 && code[0] == '\\' && octal_digit(code[1]) && octal_digit(code[2]) && octal_digit(code[3])) {
      text.push_back(static_cast<char>((code[1] - '0') * 64 + (code[2] - '0') * 8 + (code[3] - '0')));
      i += 3;
    } else {
      text.push_back(shown[i]);
    }
  }
  return text;
}

std::string next_name(Scanner& scanner) {
  std::string_view word = scanner.word();
  scanner.skip_blanks();
  return unescape(word);
}

// "24 27 0:6 / /dev rw,relatime shared:2 - devtmpfs devtmpfs rw,size=10k"
bool read_mount(std::string_view line, Mount& mount) {
  Scanner scanner(line);
  std::optional<uint64_t> id = scanner.decimal();
  scanner.skip_blanks();
  std::optional<uint64_t> parent = scanner.decimal();
  scanner.skip_blanks();
  std::optional<uint64_t> major = scanner.decimal();
  if (!id || !parent || !major || !scanner.skip(':')) return false;
  std::optional<uint64_t> minor = scanner.decimal();
  if (!minor || *major > UINT32_MAX || *minor > UINT32_MAX) return false;
  mount.id = *id;
  mount.parent = *parent;
  mount.major = static_cast<uint32_t>(*major);
  mount.minor = static_cast<uint32_t>(*minor);
  scanner.skip_blanks();
  mount.root = next_name(scanner);
  mount.mount_point = next_name(scanner);
  mount.options = next_name(scanner);
  while (true) {
    if (scanner.done()) return false;
    std::string tag = next_name(scanner);
    if (tag == "-") break;
    mount.tags.push_back(std::move(tag));
  }
  mount.fs_type = next_name(scanner);
  mount.source = next_name(scanner);
  mount.super_options = next_name(scanner);
  return !mount.mount_point.empty() && !mount.fs_type.empty();
}

}  // namespace

uint64_t Mount::device() const { return makedev(major, minor); }

Result<std::vector<Mount>> parse_mountinfo(std::string_view text) {
  std::vector<Mount> mounts;
  while (std::optional<std::string_view> line = next_line(text)) {
    if (!read_mount(*line, mounts.emplace_back())) return not_understood("mountinfo", *line);
  }
  return mounts;
}

}  // namespace stint::proc
