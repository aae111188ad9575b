// The ELF reader on arbitrary bytes, as a file and as memory: it may not crash, loop, or read outside of them.
#include "elf/elf.h"

namespace {

void look_at(const stint::elf::Source& source) {
  stint::Result<stint::elf::Elf> elf = stint::elf::parse(source);
  if (!elf.has_value()) return;
  (void)stint::elf::find_symbol(*elf, source, "clock_gettime");
  (void)stint::elf::find_symbol(*elf, source, "");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  stint::ByteView bytes = std::as_bytes(std::span(data, size));
  (void)stint::elf::kind_of(bytes);
  (void)stint::elf::parse_script(bytes);
  look_at({.bytes = bytes});
  look_at({.bytes = bytes, .layout = stint::elf::Layout::kMemory, .base = 0x7f0000000000});
  return 0;
}
