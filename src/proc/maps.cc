#include "proc/maps.h"

#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "proc/scan.h"

namespace stint::proc {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

std::string unescape_newlines(std::string_view shown) {
  std::string path;
  path.reserve(shown.size());
  for (size_t i = 0; i < shown.size();) {
    if (shown.substr(i).starts_with("\\012")) {
      path.push_back('\n');
      i += 4;
    } else {
      path.push_back(shown[i++]);
    }
  }
  return path;
}

VmaName name_of(std::string_view shown, uint64_t inode) {
  // [anon_shmem:NAME] has the inode of its shared memory.
  if (shown.starts_with("[anon_shmem:")) return VmaName::kShmemNamed;
  if (inode != 0) return VmaName::kFile;
  if (shown.empty()) return VmaName::kNone;
  if (shown == "[heap]") return VmaName::kHeap;
  if (shown == "[stack]") return VmaName::kStack;
  if (shown == "[vdso]") return VmaName::kVdso;
  if (shown == "[vvar]" || shown == "[vvar_vclock]") return VmaName::kVvar;
  if (shown == "[vsyscall]") return VmaName::kVsyscall;
  if (shown.starts_with("[anon:")) return VmaName::kAnonNamed;
  // A file may have inode number 0 on some file systems; only a special mapping is shown in brackets.
  return shown.front() == '[' ? VmaName::kSpecial : VmaName::kFile;
}

void take_name(std::string_view shown, Vma& vma) {
  vma.name = name_of(shown, vma.inode);
  if (vma.name == VmaName::kFile && shown.ends_with(kDeleted)) {
    shown.remove_suffix(kDeleted.size());
    vma.deleted = true;
  }
  vma.path = shown.find('\\') == std::string_view::npos ? std::string(shown) : unescape_newlines(shown);
}

bool take_permissions(Scanner& scanner, Vma& vma) {
  std::string_view shown = scanner.word();
  if (shown.size() != 4) return false;
  vma.read = shown[0] == 'r';
  vma.write = shown[1] == 'w';
  vma.exec = shown[2] == 'x';
  vma.shared = shown[3] == 's';
  return (vma.read || shown[0] == '-') && (vma.write || shown[1] == '-') && (vma.exec || shown[2] == '-') &&
         (vma.shared || shown[3] == 'p');
}

bool page_range(const Range& range) {
  return range.start < range.end && range.start % kPageSize == 0 && range.end % kPageSize == 0;
}

// False when anything in the line is not as the kernel writes it.
bool read_vma(std::string_view line, Vma& vma) {
  Scanner scanner(line);
  std::optional<uint64_t> start = scanner.hex();
  if (!start || !scanner.skip('-')) return false;
  std::optional<uint64_t> end = scanner.hex();
  if (!end || !scanner.skip(' ')) return false;
  vma.range = {*start, *end};
  if (!page_range(vma.range) || !take_permissions(scanner, vma) || !scanner.skip(' ')) return false;
  std::optional<uint64_t> offset = scanner.hex();
  if (!offset || !scanner.skip(' ')) return false;
  std::optional<uint64_t> major = scanner.hex();
  if (!major || !scanner.skip(':')) return false;
  std::optional<uint64_t> minor = scanner.hex();
  if (!minor || !scanner.skip(' ')) return false;
  std::optional<uint64_t> inode = scanner.decimal();
  if (!inode || *major > UINT32_MAX || *minor > UINT32_MAX) return false;
  vma.offset = *offset;
  vma.major = static_cast<uint32_t>(*major);
  vma.minor = static_cast<uint32_t>(*minor);
  vma.inode = *inode;
  if (!scanner.done() && !scanner.skip(' ')) return false;
  scanner.skip_blanks();
  take_name(scanner.rest(), vma);
  return true;
}

bool take_kilobytes(std::string_view value, uint64_t& bytes) {
  Scanner scanner(value);
  std::optional<uint64_t> kilobytes = scanner.decimal();
  return kilobytes && scanner.skip(" kB") && scanner.done() && !__builtin_mul_overflow(*kilobytes, 1024, &bytes);
}

// False for a field that we use and cannot read. Fields that we do not use are passed over.
bool take_usage(const KeyValue& field, VmaUsage& usage) {
  if (field.key == "VmFlags") {
    usage.flags = VmFlags(field.value);
    return true;
  }
  if (field.key == "KernelPageSize") return take_kilobytes(field.value, usage.kernel_page_size);
  if (field.key == "Rss") return take_kilobytes(field.value, usage.rss);
  if (field.key == "Anonymous") return take_kilobytes(field.value, usage.anonymous);
  if (field.key == "AnonHugePages") return take_kilobytes(field.value, usage.anon_huge);
  if (field.key == "Swap") return take_kilobytes(field.value, usage.swap);
  if (field.key == "Locked") return take_kilobytes(field.value, usage.locked);
  return true;
}

// A field's name begins with a capital; a mapping's address does not.
bool begins_field(std::string_view line) { return !line.empty() && line[0] >= 'A' && line[0] <= 'Z'; }

}  // namespace

int Vma::prot() const { return (read ? PROT_READ : 0) | (write ? PROT_WRITE : 0) | (exec ? PROT_EXEC : 0); }

uint64_t Vma::device() const { return makedev(major, minor); }

bool Vma::anonymous() const {
  return !shared &&
         (name == VmaName::kNone || name == VmaName::kHeap || name == VmaName::kStack || name == VmaName::kAnonNamed);
}

bool Vma::kernel_made() const {
  return name == VmaName::kVdso || name == VmaName::kVvar || name == VmaName::kVsyscall || name == VmaName::kSpecial;
}

bool Vma::nameless_shared() const {
  if (!shared) return false;
  if (name == VmaName::kShmemNamed) return true;
  return name == VmaName::kFile && deleted &&
         (path == "/dev/zero" || path.starts_with("/memfd:") || path.starts_with("/SYSV"));
}

VmFlags::VmFlags(std::string_view codes) {
  Scanner scanner(codes);
  for (scanner.skip_blanks(); !scanner.done(); scanner.skip_blanks()) {
    if (!text_.empty()) text_.push_back(' ');
    text_ += scanner.word();
  }
}

bool VmFlags::has(std::string_view code) const {
  Scanner scanner(text_);
  while (!scanner.done()) {
    if (scanner.word() == code) return true;
    scanner.skip_blanks();
  }
  return false;
}

Result<Vma> parse_vma(std::string_view line) {
  Vma vma;
  if (!read_vma(line, vma)) return not_understood("maps", line);
  return vma;
}

Result<std::vector<Vma>> parse_maps(std::string_view text) {
  std::vector<Vma> vmas;
  vmas.reserve(text.size() / 64);
  while (std::optional<std::string_view> line = next_line(text)) {
    Vma& vma = vmas.emplace_back();
    if (!read_vma(*line, vma)) return not_understood("maps", *line);
    if (vmas.size() > 1 && vma.range.start < vmas[vmas.size() - 2].range.end) return not_understood("maps", *line);
  }
  return vmas;
}

Result<std::vector<VmaUsage>> parse_smaps(std::string_view text) {
  std::vector<VmaUsage> usages;
  while (std::optional<std::string_view> line = next_line(text)) {
    if (begins_field(*line)) {
      std::optional<KeyValue> field = key_value(*line);
      if (!field || usages.empty() || !take_usage(*field, usages.back())) return not_understood("smaps", *line);
      continue;
    }
    VmaUsage& usage = usages.emplace_back();
    if (!read_vma(*line, usage.vma)) return not_understood("smaps", *line);
    if (usages.size() > 1 && usage.vma.range.start < usages[usages.size() - 2].vma.range.end)
      return not_understood("smaps", *line);
  }
  return usages;
}

}  // namespace stint::proc
