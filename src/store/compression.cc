#include "store/compression.h"

#include <fmt/format.h>
#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "image/record.h"

namespace stint::store {
namespace {

using image::Storage;

constexpr size_t kSamples = 8;
constexpr size_t kSampleSize = 4096;

const char* chars(ByteView bytes) { return reinterpret_cast<const char*>(bytes.data()); }

// Bits of information in a byte, from how often each value occurs.
double entropy(ByteView bytes) {
  std::array<uint32_t, 256> times{};
  for (std::byte byte : bytes) ++times[static_cast<uint8_t>(byte)];
  double bits = 0;
  for (uint32_t n : times)
    if (n > 0) bits -= n * std::log2(static_cast<double>(n) / static_cast<double>(bytes.size()));
  return bits / static_cast<double>(bytes.size());
}

// Looks at samples: data that is encrypted or compressed already has neither repetitions nor frequent bytes, and trying
// to compress it would take longer than writing it. 4096 random bytes measure 7.95 bits; what measures less than 7.9
// may shrink.
bool looks_incompressible(ByteView block) {
  if (block.size() < 2 * kSamples * kSampleSize) return false;
  std::array<char, kSampleSize> smaller;
  size_t stride = block.size() / kSamples;
  for (size_t i = 0; i < kSamples; ++i) {
    ByteView sample = block.subspan(i * stride, kSampleSize);
    if (entropy(sample) < 7.9) return false;
    if (LZ4_compress_default(chars(sample), smaller.data(), kSampleSize, kSampleSize - kSampleSize / 16) > 0)
      return false;
  }
  return true;
}

}  // namespace

Result<Compression> parse_compression(std::string_view text) {
  if (text == "none") return Compression{.method = Storage::kRaw, .level = 0};
  if (text == "lz4") return Compression{.method = Storage::kLz4, .level = 0};
  if (text == "zstd") return Compression{};
  constexpr std::string_view kWithLevel = "zstd:";
  if (text.starts_with(kWithLevel)) {
    int level = 0;
    const char* end = text.data() + text.size();
    std::from_chars_result read = std::from_chars(text.data() + kWithLevel.size(), end, level);
    if (read.ec == std::errc() && read.ptr == end && level >= 1 && level <= ZSTD_maxCLevel())
      return Compression{.method = Storage::kZstd, .level = level};
  }
  return usage(fmt::format("compression '{}': must be none, lz4, zstd or zstd:1 to zstd:{}", text, ZSTD_maxCLevel()));
}

Compressor::Compressor(Compression how) : how_(how) {
  if (how_.method == Storage::kRaw) return;
  space_.resize(image::kPageBufferSize);  // A result that is larger is not wanted.
  if (how_.method == Storage::kZstd) context_ = ZSTD_createCCtx();
}

Compressor::~Compressor() { ZSTD_freeCCtx(static_cast<ZSTD_CCtx*>(context_)); }

Compressor::Packed Compressor::pack(ByteView block) {
  CHECK(block.size() <= image::kPageBufferSize);
  Packed raw{Storage::kRaw, block};
  size_t most = block.size() - block.size() / 16;
  if (how_.method == Storage::kRaw || looks_incompressible(block)) return raw;
  if (how_.method == Storage::kLz4) {
    int size = LZ4_compress_default(chars(block), reinterpret_cast<char*>(space_.data()),
                                    static_cast<int>(block.size()), static_cast<int>(most));
    if (size <= 0) return raw;
    return {Storage::kLz4, ByteView(space_).first(static_cast<size_t>(size))};
  }
  // Without memory for its tables zstd fails, and so it does when the result would not fit: raw serves both.
  if (context_ == nullptr) return raw;
  size_t size =
      ZSTD_compressCCtx(static_cast<ZSTD_CCtx*>(context_), space_.data(), most, block.data(), block.size(), how_.level);
  if (ZSTD_isError(size)) return raw;
  return {Storage::kZstd, ByteView(space_).first(size)};
}

Result<> unpack(Storage storage, ByteView packed, std::span<std::byte> to) {
  switch (storage) {
    case Storage::kZero:
      std::fill(to.begin(), to.end(), std::byte{0});
      return {};
    case Storage::kRaw:
      if (packed.size() != to.size()) return damaged("a raw block of the wrong size");
      std::copy(packed.begin(), packed.end(), to.begin());
      return {};
    case Storage::kLz4: {
      int size = LZ4_decompress_safe(chars(packed), reinterpret_cast<char*>(to.data()), static_cast<int>(packed.size()),
                                     static_cast<int>(to.size()));
      if (size < 0 || static_cast<size_t>(size) != to.size()) return damaged("an LZ4 block that cannot be unpacked");
      return {};
    }
    case Storage::kZstd: {
      size_t size = ZSTD_decompress(to.data(), to.size(), packed.data(), packed.size());
      if (ZSTD_isError(size) || size != to.size()) return damaged("a Zstandard frame that cannot be unpacked");
      return {};
    }
  }
  return damaged(fmt::format("stored in a way that is not known ({})", static_cast<int>(storage)));
}

}  // namespace stint::store
