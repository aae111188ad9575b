// What this processor can do, as far as programs choose their code by it. A program that was started where AVX-512 is
// goes on using it: a host without must refuse it before anything is touched.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stint::task {

// Words of cpuid(1), (7), (0xd), (0x80000001), and xcr0; in this order, always as many.
std::vector<uint32_t> cpu_features();

// Names of features that `saved` has and this processor lacks ("avx512f", or "cpuid word 3 bit 5"). Empty: it will do.
std::vector<std::string> missing_features(const std::vector<uint32_t>& saved);

}  // namespace stint::task
