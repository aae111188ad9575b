#include "store/manifest.h"

#include <type_traits>

namespace stint::store {
namespace {

// One list of the fields for writing and for reading.
template <class M, class Visitor>
void each_field(M& manifest, Visitor visit) {
  visit("name", manifest.name);
  visit("number", manifest.number);
  visit("created_ns", manifest.created_ns);
  visit("host", manifest.host);
  visit("command", manifest.command);
  visit("memory_bytes", manifest.memory_bytes);
  visit("zero_bytes", manifest.zero_bytes);
  visit("stored_bytes", manifest.stored_bytes);
  visit("leans_on", manifest.leans_on);
  visit("records", manifest.records);
  visit("pause_ns", manifest.pause_ns);
  visit("total_ns", manifest.total_ns);
}

}  // namespace

nlohmann::ordered_json to_json(const Manifest& manifest) {
  nlohmann::ordered_json json;
  each_field(manifest, [&](const char* name, const auto& value) { json[name] = value; });
  return json;
}

Result<Manifest> parse_manifest(std::string_view text) {
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return damaged("manifest.json is no JSON object");
  Manifest manifest;
  // What is missing or of another type keeps its default.
  each_field(manifest, [&](const char* name, auto& value) {
    auto found = json.find(name);
    if (found == json.end()) return;
    using Value = std::remove_reference_t<decltype(value)>;
    if constexpr (std::is_same_v<Value, std::string>) {
      if (found->is_string()) value = found->template get<std::string>();
    } else if constexpr (std::is_same_v<Value, std::vector<uint64_t>>) {
      for (const nlohmann::json& number : *found)
        if (number.is_number_unsigned()) value.push_back(number.get<uint64_t>());
    } else {
      if (found->is_number_integer()) value = found->template get<Value>();
    }
  });
  return manifest;
}

}  // namespace stint::store
