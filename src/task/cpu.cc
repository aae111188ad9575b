#include "task/cpu.h"

#include <cpuid.h>
#include <fmt/format.h>

namespace stint::task {
namespace {

struct Leaf {
  uint32_t leaf, subleaf;
  int reg;  // 0 eax, 1 ebx, 2 ecx, 3 edx
};
constexpr Leaf kLeaves[] = {{1, 0, 2}, {1, 0, 3},   {7, 0, 1},          {7, 0, 2},         {7, 0, 3},
                            {7, 1, 0}, {0xd, 1, 0}, {0x80000001, 0, 2}, {0x80000001, 0, 3}};

// Bits that say how the machine is run, not what a program may use: osxsave follows from xcr0, hypervisor, apic id.
constexpr uint32_t kNotForPrograms[] = {1u << 31, 0, 0, 0, 0, 0, 0, 0, 0, 0};

struct Name {
  size_t word;
  int bit;
  const char* name;
};
constexpr Name kNames[] = {
    {0, 0, "sse3"},      {0, 1, "pclmulqdq"}, {0, 9, "ssse3"},        {0, 12, "fma"},      {0, 19, "sse4_1"},
    {0, 20, "sse4_2"},   {0, 22, "movbe"},    {0, 23, "popcnt"},      {0, 25, "aes"},      {0, 28, "avx"},
    {0, 29, "f16c"},     {0, 30, "rdrand"},   {2, 3, "bmi1"},         {2, 5, "avx2"},      {2, 8, "bmi2"},
    {2, 9, "erms"},      {2, 16, "avx512f"},  {2, 17, "avx512dq"},    {2, 18, "rdseed"},   {2, 19, "adx"},
    {2, 28, "avx512cd"}, {2, 29, "sha_ni"},   {2, 30, "avx512bw"},    {2, 31, "avx512vl"}, {3, 1, "avx512vbmi"},
    {3, 8, "gfni"},      {3, 9, "vaes"},      {3, 11, "avx512_vnni"}, {4, 24, "amx_tile"}, {7, 5, "lzcnt"}};

uint32_t read_leaf(const Leaf& leaf) {
  uint32_t regs[4] = {};
  if (!__get_cpuid_count(leaf.leaf, leaf.subleaf, &regs[0], &regs[1], &regs[2], &regs[3])) return 0;
  return regs[leaf.reg];
}

uint32_t read_xcr0() {
  uint32_t low = 0, high = 0;
  if (read_leaf({1, 0, 2}) & bit_OSXSAVE) asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

std::string name_of(size_t word, int bit) {
  for (const Name& name : kNames)
    if (name.word == word && name.bit == bit) return name.name;
  return fmt::format("cpuid word {} bit {}", word, bit);
}

}  // namespace

std::vector<uint32_t> cpu_features() {
  std::vector<uint32_t> words;
  for (const Leaf& leaf : kLeaves) words.push_back(read_leaf(leaf));
  words.push_back(read_xcr0());
  return words;
}

std::vector<std::string> missing_features(const std::vector<uint32_t>& saved) {
  std::vector<std::string> missing;
  std::vector<uint32_t> here = cpu_features();
  for (size_t word = 0; word < here.size() && word < saved.size(); ++word) {
    uint32_t lacking = saved[word] & ~here[word] & ~kNotForPrograms[word];
    for (int bit = 0; bit < 32; ++bit)
      if (lacking >> bit & 1) missing.push_back(name_of(word, bit));
  }
  return missing;
}

}  // namespace stint::task
