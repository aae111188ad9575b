// The decoder of record streams against arbitrary bytes, twice: as they are, which rarely gets past a checksum, and as
// the payloads of a sound stream, which reaches the decoder of every kind of record.
#include <cstdint>

#include "image/record_kinds.h"
#include "image/stream.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stint;
  ByteView bytes = std::as_bytes(std::span(data, size));
  static_cast<void>(image::decode_stream(bytes).has_value());
  if (size < 1) return 0;
  std::span<const image::RecordKind> kinds = image::record_kinds();
  const image::RecordKind& kind = kinds[data[0] % kinds.size()];
  ByteView payload = bytes.subspan(1);
  static_cast<void>(kind.to_json(payload).has_value());
  if (kind.type == image::RecordType::kEnd) return 0;
  image::StreamEncoder encoder;
  encoder.put({.type = kind.type, .version = kind.version, .payload = Bytes(payload.begin(), payload.end())});
  encoder.finish();
  Result<std::vector<image::Record>> records = image::decode_stream(encoder.take());
  CHECK(records.has_value() && records->size() == 1);
  return 0;
}
