// How a block of page data is made smaller, and back. A block that does not shrink by at least a sixteenth is stored
// raw: reading it is then free, and the kernel can move it by itself.
#pragma once

#include <memory>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "image/page_index.h"

namespace stint::store {

struct Compression {
  image::Storage method = image::Storage::kZstd;  // kRaw for none
  int level = 1;                                  // of zstd
};

// "none", "lz4", "zstd" or "zstd:LEVEL".
Result<Compression> parse_compression(std::string_view text);

// One thread's compressor and its space for the result.
class Compressor {
 public:
  explicit Compressor(Compression how);
  ~Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  struct Packed {
    image::Storage storage;
    ByteView bytes;  // `block` itself where it is stored raw; else valid until the next call
  };
  // `block` is at most kPageBufferSize bytes.
  Packed pack(ByteView block);

 private:
  Compression how_;
  Bytes space_;
  void* context_ = nullptr;
};

// Undoes Compressor::pack: fills `to` exactly, or fails with kDamaged.
Result<> unpack(image::Storage storage, ByteView packed, std::span<std::byte> to);

}  // namespace stint::store
