#include "assay/storage/gguf_metadata.h"

#include <cmath>

namespace assay {
const GgufValue* GgufMetadata::find(const std::string& key) {
  asked_.insert(key);
  const auto found = file_.metadata.find(key);
  return found == file_.metadata.end() ? nullptr : &found->second;
}

template <class T>
const T* GgufMetadata::find_as(const std::string& key, std::string_view expected) {
  const GgufValue* value = find(key);
  if (value == nullptr) return nullptr;
  const T* typed = std::get_if<T>(value);
  if (typed == nullptr) fail("{}: key {} has another type, {} expected", path(), key, expected);
  return typed;
}

std::optional<std::uint64_t> GgufMetadata::integer(const std::string& key) {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* stored = std::get_if<std::uint64_t>(value)) return *stored;
  const auto* stored = std::get_if<std::int64_t>(value);
  if (stored == nullptr) fail("{}: key {} has another type, an integer expected", path(), key);
  if (*stored < 0) fail("{}: key {} is {}, at least 0 expected", path(), key, *stored);
  return static_cast<std::uint64_t>(*stored);
}

std::optional<double> GgufMetadata::number(const std::string& key) {
  const auto* value = find_as<double>(key, "a floating-point number");
  if (value != nullptr && !std::isfinite(*value))
    fail("{}: key {} is {}, a finite number expected", path(), key, *value);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<bool> GgufMetadata::boolean(const std::string& key) {
  const auto* value = find_as<bool>(key, "a bool");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<std::string> GgufMetadata::text(const std::string& key) {
  const auto* value = find_as<std::string_view>(key, "a string");
  return value == nullptr ? std::nullopt : std::optional(std::string(*value));
}

const GgufStrings* GgufMetadata::strings(const std::string& key) {
  return find_as<GgufStrings>(key, "an array of strings");
}

template <class T>
std::optional<std::vector<T>> GgufMetadata::find_array(const std::string& key, GgufValueType type,
                                                       std::string_view expected) {
  const auto* numbers = find_as<GgufNumbers>(key, expected);
  if (numbers == nullptr) return std::nullopt;
  if (numbers->type != type) fail("{}: key {} has another element type, {} expected", path(), key, expected);
  std::vector<T> values(numbers->count);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = load<T>(numbers->bytes.data() + i * sizeof(T));
  return values;
}

std::optional<std::vector<std::int32_t>> GgufMetadata::integers(const std::string& key) {
  return find_array<std::int32_t>(key, GgufValueType::i32, "an array of i32");
}

std::optional<std::vector<float>> GgufMetadata::floats(const std::string& key) {
  return find_array<float>(key, GgufValueType::f32, "an array of f32");
}

std::vector<std::string> GgufMetadata::check_all_understood(const std::string& architecture) const {
  std::vector<std::string> foreign;
  for (const auto& [key, value] : file_.metadata) {
    if (asked_.contains(key) || key.starts_with("general.") || key.starts_with("quantize.")) continue;
    if (key.starts_with(architecture + ".") || key.starts_with("tokenizer.") || key.starts_with("split."))
      fail("{}: key {} is not supported: ignoring it could change the model", path(), key);
    foreign.push_back(key);
  }
  return foreign;
}

}  // namespace assay
