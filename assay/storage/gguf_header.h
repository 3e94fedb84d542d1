#pragma once
// The head of a GGUF file under construction, the inverse of gguf_file.h: keys in the order in which they are
// set, then tensors, each of which is given its place in the data behind the head.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "assay/storage/gguf_file.h"

namespace assay {

class GgufHeader {
 public:
  /// `path` opens every message.
  explicit GgufHeader(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }

  // ---- Keys. Throw Error for a number that the stored type cannot hold and for text that is not UTF-8.
  void integer(std::string_view key, std::uint64_t value);  // as u32
  void number(std::string_view key, double value);          // as f32, of the very same value
  void boolean(std::string_view key, bool value);
  void text(std::string_view key, std::string_view value);
  void texts(std::string_view key, std::span<const std::string> values);
  void integers(std::string_view key, std::span<const std::int32_t> values);
  void floats(std::string_view key, std::span<const float> values);

  /// Where the tensor's bytes begin, counted from the start of the data. Throws Error for a rank, a type or a
  /// size that GGUF does not have.
  std::uint64_t tensor(std::string_view name, const Shape& shape, const Format& format);

  /// The whole head, padded to where the data begins.
  std::string bytes() const;
  std::uint64_t data_bytes() const { return data_bytes_; }

 private:
  void key(std::string_view name, GgufValueType type);

  std::string path_;
  std::string keys_, tensors_;
  std::uint64_t key_count_ = 0, tensor_count_ = 0, data_bytes_ = 0;
};

}  // namespace assay
