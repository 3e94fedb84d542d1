#pragma once
// Typed access to the metadata of a GGUF file. It remembers which keys were asked for: what nobody asked for
// was not understood, and check_all_understood() says so.
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "assay/base/error.h"
#include "assay/storage/gguf_file.h"

namespace assay {

class GgufMetadata {
 public:
  explicit GgufMetadata(const GgufFile& file) : file_(file) {}

  const std::string& path() const { return file_.path; }

  // ---- Nothing when the key is absent; Error when its type is another or an integer is negative.
  std::optional<std::uint64_t> integer(const std::string& key);
  std::optional<double> number(const std::string& key);  // a floating-point value
  std::optional<bool> boolean(const std::string& key);
  std::optional<std::string> text(const std::string& key);
  const GgufStrings* strings(const std::string& key);
  std::optional<std::vector<std::int32_t>> integers(const std::string& key);  // an i32 array
  std::optional<std::vector<float>> floats(const std::string& key);           // an f32 array

  /// As above where the key must be there: require(metadata.integer(key), key).
  template <class T>
  T require(std::optional<T> value, const std::string& key) const {
    if (!value) fail("{}: key {} is missing", path(), key);
    return *std::move(value);
  }

  /// Marks a key as of no consequence for what Assay computes.
  void ignore(const std::string& key) { asked_.insert(key); }

  /// Throws Error for a key of the architecture, the tokenizer or a split file that was never asked for. Keys
  /// of general. and quantize. describe; those of other programs are returned, to be warned of.
  std::vector<std::string> check_all_understood(const std::string& architecture) const;

 private:
  const GgufValue* find(const std::string& key);
  template <class T>
  const T* find_as(const std::string& key, std::string_view expected);
  template <class T>
  std::optional<std::vector<T>> find_array(const std::string& key, GgufValueType type,
                                           std::string_view expected);

  const GgufFile& file_;
  std::set<std::string, std::less<>> asked_;
};

}  // namespace assay
