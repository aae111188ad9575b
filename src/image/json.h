// A record as `stint show --json` prints it, by the same visitor that encodes it (codec.h).
#pragma once

#include <nlohmann/json.hpp>

#include "image/codec.h"

namespace stint::image {

// Builds the JSON that `stint show --json` prints. Bytes appear as their size.
class JsonPrinter {
 public:
  template <class T>
  void operator()(const char* name, const T& value) {
    json_[name] = of(value);
  }
  nlohmann::ordered_json take() { return std::move(json_); }

 private:
  template <Scalar T>
  static nlohmann::ordered_json of(const T& value) {
    if constexpr (std::is_enum_v<T>)
      return static_cast<std::underlying_type_t<T>>(value);
    else
      return value;
  }
  static nlohmann::ordered_json of(const std::string& value) {
    // Paths and arguments may hold bytes that are no UTF-8; JSON cannot.
    return nlohmann::ordered_json::parse(
        nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  static nlohmann::ordered_json of(const Bytes& value) { return {{"bytes", value.size()}}; }
  static nlohmann::ordered_json of(const Hash128& value) { return value.hex(); }
  template <class T>
  static nlohmann::ordered_json of(const std::optional<T>& value) {
    return value ? of(*value) : nlohmann::ordered_json();
  }
  template <class T>
  static nlohmann::ordered_json of(const std::vector<T>& values) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const T& value : values) list.push_back(of(value));
    return list;
  }
  template <class T, size_t N>
  static nlohmann::ordered_json of(const std::array<T, N>& values) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const T& value : values) list.push_back(of(value));
    return list;
  }
  template <class T>
    requires requires(T& t, JsonPrinter& p) { t.fields(p); }
  static nlohmann::ordered_json of(const T& value) {
    JsonPrinter nested;
    const_cast<T&>(value).fields(nested);
    return nested.take();
  }

  nlohmann::ordered_json json_ = nlohmann::ordered_json::object();
};

template <class R>
nlohmann::ordered_json to_json(const R& record) {
  JsonPrinter printer;
  const_cast<R&>(record).fields(printer);
  return printer.take();
}

}  // namespace stint::image
