#include "assay/base/json.h"

#include <set>
#include <utility>
#include <vector>

#include "assay/base/error.h"
#include "assay/base/file.h"

namespace assay {

Json parse_json(std::string_view text, const std::string& origin, const JsonLimits& limits) {
  if (text.size() > limits.bytes)
    fail("{}: JSON of {} bytes, at most {} expected", origin, text.size(), limits.bytes);
  // The parser takes a zero byte for the end of the text and would ignore what follows.
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos)
    fail("{}: not valid JSON: a zero byte at offset {}", origin, zero);
  std::vector<std::set<std::string>> keys;  // of every object still open
  const Json::parser_callback_t guard = [&](int depth, Json::parse_event_t event, Json& parsed) {
    switch (event) {
      case Json::parse_event_t::object_start:
        if (depth >= limits.depth) fail("{}: JSON nested deeper than {} levels", origin, limits.depth);
        keys.emplace_back();
        break;
      case Json::parse_event_t::array_start:
        if (depth >= limits.depth) fail("{}: JSON nested deeper than {} levels", origin, limits.depth);
        break;
      case Json::parse_event_t::object_end:
        keys.pop_back();
        break;
      case Json::parse_event_t::key:
        if (!keys.back().insert(parsed.get<std::string>()).second)
          fail("{}: duplicate key \"{}\" in JSON", origin, parsed.get<std::string>());
        break;
      default:
        break;
    }
    return true;
  };
  try {
    return Json::parse(text, guard);
  } catch (const Json::exception& problem) {
    fail("{}: not valid JSON: {}", origin, problem.what());
  }
}

Json read_json_file(const std::string& path, const JsonLimits& limits) {
  return parse_json(read_file(path, limits.bytes), path, limits);
}

template <class T>
T json_get(const Json& object, const char* key, const std::string& origin) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end()) fail("{}: key \"{}\" is missing", origin, key);
  const Json& value = *found;
  const auto mismatch = [&](const char* expected) {
    fail("{}: key \"{}\" is {}, {} expected", origin, key, value.dump().substr(0, 80), expected);
  };
  if constexpr (std::is_same_v<T, bool>) {
    if (!value.is_boolean()) mismatch("true or false");
    return value.get<bool>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!value.is_string()) mismatch("a string");
    return value.get<std::string>();
  } else if constexpr (std::is_integral_v<T>) {
    if (!value.is_number_integer()) mismatch("an integer");
    // The parser keeps non-negative integers unsigned; integers made in memory may be signed all the same.
    if (value.is_number_unsigned()) {
      if (!std::in_range<T>(value.get<std::uint64_t>())) mismatch("a smaller integer");
    } else if (!std::in_range<T>(value.get<std::int64_t>())) {
      mismatch(value.get<std::int64_t>() < 0 ? "a larger integer" : "a smaller integer");
    }
    return value.get<T>();
  } else {
    if (!value.is_number()) mismatch("a number");
    return value.get<T>();
  }
}

template bool json_get<bool>(const Json&, const char*, const std::string&);
template int json_get<int>(const Json&, const char*, const std::string&);
template std::uint64_t json_get<std::uint64_t>(const Json&, const char*, const std::string&);
template float json_get<float>(const Json&, const char*, const std::string&);
template double json_get<double>(const Json&, const char*, const std::string&);
template std::string json_get<std::string>(const Json&, const char*, const std::string&);

}  // namespace assay
