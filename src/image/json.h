// A record as `stint show --json` prints it, by the same visitor that encodes it (codec.h).
#pragma once

#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "image/codec.h"

namespace stint::image {

// What is shown of a field of bytes.
enum class BytesAs {
  kSize,         // for people
  kSizeAndHash,  // so that two of the same size can be told apart
};

// Builds the JSON that `stint show --json` prints.
class JsonPrinter {
 public:
  explicit JsonPrinter(BytesAs bytes = BytesAs::kSize) : bytes_(bytes) {}
  template <class T>
  void operator()(const char* name, const T& value) {
    json_[name] = of(value);
  }
  nlohmann::ordered_json take() { return std::move(json_); }

 private:
  template <Scalar T>
  nlohmann::ordered_json of(const T& value) {
    if constexpr (std::is_enum_v<T>)
      return static_cast<std::underlying_type_t<T>>(value);
    else
      return value;
  }
  nlohmann::ordered_json of(const std::string& value) {
    // Paths and arguments may hold bytes that are no UTF-8; JSON cannot.
    return nlohmann::ordered_json::parse(
        nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  nlohmann::ordered_json of(const Bytes& value) {
    nlohmann::ordered_json json{{"bytes", value.size()}};
    if (bytes_ == BytesAs::kSizeAndHash) json["hash"] = hash128(value).hex();
    return json;
  }
  nlohmann::ordered_json of(const Hash128& value) { return value.hex(); }
  template <class T>
  nlohmann::ordered_json of(const std::optional<T>& value) {
    return value ? of(*value) : nlohmann::ordered_json();
  }
  template <class T>
  nlohmann::ordered_json of(const std::vector<T>& values) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const T& value : values) list.push_back(of(value));
    return list;
  }
  template <class T, size_t N>
  nlohmann::ordered_json of(const std::array<T, N>& values) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const T& value : values) list.push_back(of(value));
    return list;
  }
  template <class T>
    requires requires(T& t, JsonPrinter& p) { t.fields(p); }
  nlohmann::ordered_json of(const T& value) {
    JsonPrinter nested(bytes_);
    const_cast<T&>(value).fields(nested);
    return nested.take();
  }

  BytesAs bytes_;
  nlohmann::ordered_json json_ = nlohmann::ordered_json::object();
};

template <class R>
nlohmann::ordered_json to_json(const R& record, BytesAs bytes = BytesAs::kSize) {
  JsonPrinter printer(bytes);
  const_cast<R&>(record).fields(printer);
  return printer.take();
}

}  // namespace stint::image
