// Bytes in the place of a ledger: those of the fuzzer, laid over a sound header, so that the entries are reached.
#include <cstring>

#include "abi/ledger_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr uint32_t kChunks = 2;
  stint::Bytes bytes(stint::abi::ledger_size(kChunks));
  stint::Bytes header = stint::abi::empty_ledger(kChunks);
  std::memcpy(bytes.data(), header.data(), header.size());
  if (size > 0 && data[0] % 8 == 0) {
    std::memcpy(bytes.data(), data, std::min(size, bytes.size()));
  } else {
    // Both chunks belong to pid 1, incarnation 1; what is in them is the fuzzer's.
    uint64_t owners[kChunks] = {(uint64_t{1} << 32) | 1, (uint64_t{1} << 32) | 1};
    std::memcpy(bytes.data() + sizeof(stint::abi::LedgerHeader), owners, sizeof owners);
    for (uint32_t number = 0; number < kChunks; ++number) {
      std::byte* start =
          bytes.data() + stint::abi::ledger_chunks_offset(kChunks) + number * stint::abi::kLedgerChunkSize;
      stint::abi::LedgerChunk chunk{};
      chunk.incarnation = 1;
      chunk.pid = 1;
      chunk.used = stint::abi::kLedgerChunkSize;
      std::memcpy(start, &chunk, sizeof chunk);
      size_t room = stint::abi::kLedgerChunkSize - sizeof chunk;
      std::memcpy(start + sizeof chunk, data, std::min(size, room));
    }
  }
  stint::Result<stint::abi::Ledger> ledger = stint::abi::read_ledger(bytes);
  if (ledger.has_value()) {
    for (const stint::abi::LedgerProcess& process : ledger->processes) {
      for (const auto& [fd, descriptor] : process.descriptors) (void)descriptor.path();
    }
  }
  return 0;
}
