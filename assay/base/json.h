#pragma once
// JSON from files nobody vouches for: bounded size and depth, no duplicate keys, errors that name the origin.
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace assay {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;  // for what we write: keys stay in the order a reader expects

struct JsonLimits {
  std::size_t bytes = 100u << 20;
  int depth = 64;
};

/// Parses text; `origin` (a path) opens every message. Throws Error.
Json parse_json(std::string_view text, const std::string& origin, const JsonLimits& limits = {});

/// Reads and parses a file. Throws Error when it is missing, too large or malformed.
Json read_json_file(const std::string& path, const JsonLimits& limits = {});

/// object[key] as T; a missing key or a wrong type is an Error naming both. Integers must be integral
/// (never truncated floats) and non-negative where T is unsigned.
template <class T>
T json_get(const Json& object, const char* key, const std::string& origin);

/// As json_get, with a default for an absent or null key.
template <class T>
T json_get_or(const Json& object, const char* key, T fallback, const std::string& origin) {
  if (!object.is_object()) return fallback;
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return fallback;
  return json_get<T>(object, key, origin);
}

extern template bool json_get<bool>(const Json&, const char*, const std::string&);
extern template int json_get<int>(const Json&, const char*, const std::string&);
extern template std::uint64_t json_get<std::uint64_t>(const Json&, const char*, const std::string&);
extern template float json_get<float>(const Json&, const char*, const std::string&);
extern template double json_get<double>(const Json&, const char*, const std::string&);
extern template std::string json_get<std::string>(const Json&, const char*, const std::string&);

}  // namespace assay
