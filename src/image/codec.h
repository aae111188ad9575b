// How a record becomes bytes and comes back. Every record is a plain struct with one visitor,
//
//   template <class A> void fields(A& a) { a("capacity", capacity); a("queued", queued); }
//
// which the Encoder, the Decoder and the printer of `show --json` (json.h) share, so that they cannot drift apart.
// Bytes are little-endian, without padding, in the order of the fields: integers in their own width, bool and enums as
// declared, strings and vectors as a u64 count and the elements. The Decoder trusts no count: it never allocates more
// than the bytes that are there could fill. Grammar: doc/image-format.md.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/result.h"

namespace stint::image {

static_assert(std::endian::native == std::endian::little, "records are little-endian, and so is every x86-64");

template <class T>
concept Scalar = std::is_arithmetic_v<T> || std::is_enum_v<T>;

class Encoder {
 public:
  template <class T>
  void operator()(const char*, const T& value) {
    put(value);
  }
  Bytes take() { return std::move(out_); }

 private:
  void raw(const void* data, size_t size) {
    const std::byte* start = static_cast<const std::byte*>(data);
    out_.insert(out_.end(), start, start + size);
  }
  template <Scalar T>
  void put(const T& value) {
    raw(&value, sizeof(value));
  }
  void put(const std::string& value) {
    put<uint64_t>(value.size());
    raw(value.data(), value.size());
  }
  void put(const Bytes& value) {
    put<uint64_t>(value.size());
    raw(value.data(), value.size());
  }
  void put(const Hash128& value) {
    put(value.low);
    put(value.high);
  }
  template <class T>
  void put(const std::optional<T>& value) {
    put<bool>(value.has_value());
    if (value) put(*value);
  }
  template <class T>
  void put(const std::vector<T>& values) {
    put<uint64_t>(values.size());
    for (const T& value : values) put(value);
  }
  template <class T, size_t N>
  void put(const std::array<T, N>& values) {
    for (const T& value : values) put(value);
  }
  template <class T>
    requires requires(T& t, Encoder& e) { t.fields(e); }
  void put(const T& value) {
    const_cast<T&>(value).fields(*this);  // The visitor only reads when it is given an Encoder.
  }

  Bytes out_;
};

class Decoder {
 public:
  explicit Decoder(ByteView bytes) : rest_(bytes) {}

  template <class T>
  void operator()(const char* name, T& value) {
    if (!error_.empty()) return;
    get(value);
    if (bad_) error_ = std::string(name) + " is cut short";
  }
  // Ok when every field was there and nothing is left over.
  Result<> finish() const {
    if (!error_.empty()) return damaged(error_);
    if (!rest_.empty()) return damaged("bytes left over after the last field");
    return {};
  }

 private:
  bool take(void* to, size_t size) {
    if (rest_.size() < size) {
      bad_ = true;
      return false;
    }
    if (size != 0) std::memcpy(to, rest_.data(), size);
    rest_ = rest_.subspan(size);
    return true;
  }
  // A count of elements of at least `least` bytes each that can really be there.
  uint64_t count(size_t least) {
    uint64_t n = 0;
    if (!take(&n, sizeof(n))) return 0;
    if (n > rest_.size() / least) {
      bad_ = true;
      return 0;
    }
    return n;
  }
  template <Scalar T>
  void get(T& value) {
    take(&value, sizeof(value));
  }
  void get(bool& value) {
    uint8_t byte = 0;
    take(&byte, 1);
    if (byte > 1) bad_ = true;
    value = byte == 1;
  }
  void get(std::string& value) {
    value.resize(count(1));
    take(value.data(), value.size());
  }
  void get(Bytes& value) {
    value.resize(count(1));
    take(value.data(), value.size());
  }
  void get(Hash128& value) {
    get(value.low);
    get(value.high);
  }
  template <class T>
  void get(std::optional<T>& value) {
    bool present = false;
    get(present);
    if (bad_ || !present) return value.reset();
    get(value.emplace());
  }
  template <class T>
  void get(std::vector<T>& values) {
    uint64_t n = count(1);
    values.clear();
    for (uint64_t i = 0; i < n && !bad_; ++i) get(values.emplace_back());
  }
  template <class T, size_t N>
  void get(std::array<T, N>& values) {
    for (T& value : values) get(value);
  }
  template <class T>
    requires requires(T& t, Decoder& d) { t.fields(d); }
  void get(T& value) {
    value.fields(*this);
    if (!error_.empty()) bad_ = true;
  }

  ByteView rest_;
  bool bad_ = false;
  std::string error_;
};

template <class R>
Bytes encode(const R& record) {
  Encoder encoder;
  const_cast<R&>(record).fields(encoder);
  return encoder.take();
}

template <class R>
Result<R> decode(ByteView bytes) {
  R record;
  Decoder decoder(bytes);
  record.fields(decoder);
  TRY(decoder.finish().in(R::kName));
  return record;
}

}  // namespace stint::image
