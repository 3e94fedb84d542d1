#include "assay/base/json.h"

#include <utility>
#include <vector>

#include "assay/base/error.h"
#include "assay/base/file.h"

namespace assay {

namespace {

/// Builds the value event by event. nlohmann's own builder with a callback looks at all siblings behind every
/// object, and without one it takes the last of equal keys.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  Builder(const std::string& origin, const JsonLimits& limits) : origin_(origin), limits_(limits) {}

  Json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t& value) override { return put(std::move(value)); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const auto [member, added] = open_.back()->get_ref<Json::object_t&>().emplace(std::move(name), nullptr);
    if (!added) fail("{}: duplicate key \"{}\" in JSON", origin_, member->first);
    member_ = &member->second;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& problem) override {
    fail("{}: not valid JSON: {}", origin_, problem.what());
  }

 private:
  Json& place() {
    if (open_.empty()) return root_;
    if (open_.back()->is_object()) return *member_;
    auto& list = open_.back()->get_ref<Json::array_t&>();
    list.emplace_back();
    return list.back();
  }

  bool put(Json value) {
    place() = std::move(value);
    return true;
  }

  bool open(Json container) {
    if (open_.size() >= static_cast<std::size_t>(limits_.depth))
      fail("{}: JSON nested deeper than {} levels", origin_, limits_.depth);
    Json& opened = place();
    opened = std::move(container);
    open_.push_back(&opened);
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& origin_;
  const JsonLimits& limits_;
  Json root_;
  std::vector<Json*> open_;  // containers around what comes next
  Json* member_ = nullptr;   // the value of the last key
};

}  // namespace

Json parse_json(std::string_view text, const std::string& origin, const JsonLimits& limits) {
  if (text.size() > limits.bytes)
    fail("{}: JSON of {} bytes, at most {} expected", origin, text.size(), limits.bytes);
  // The parser takes a zero byte for the end of the text and would ignore what follows.
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos)
    fail("{}: not valid JSON: a zero byte at offset {}", origin, zero);
  Builder builder(origin, limits);
  Json::sax_parse(text, &builder);
  return builder.take();
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
