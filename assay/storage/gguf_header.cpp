#include "assay/storage/gguf_header.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/base/quote.h"
#include "assay/base/utf8.h"

namespace assay {
namespace {

template <class T>
void append_raw(std::string& bytes, T value) {
  char raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);  // little-endian, as every machine that Assay runs on
  bytes.append(raw, sizeof value);
}

void append_text(std::string& bytes, std::string_view text) {
  append_raw<std::uint64_t>(bytes, text.size());
  bytes += text;
}

template <class T>
void append_array(std::string& bytes, GgufValueType type, std::span<const T> values) {
  append_raw(bytes, static_cast<std::uint32_t>(type));
  append_raw<std::uint64_t>(bytes, values.size());
  for (const T value : values) append_raw(bytes, value);
}

}  // namespace

void GgufHeader::key(std::string_view name, GgufValueType type) {
  ++key_count_;
  append_text(keys_, name);
  append_raw(keys_, static_cast<std::uint32_t>(type));
}

void GgufHeader::integer(std::string_view name, std::uint64_t value) {
  if (value > std::numeric_limits<std::uint32_t>::max())
    fail("{}: key {} would be {}, 32 bits expected", path_, name, value);
  key(name, GgufValueType::u32);
  append_raw(keys_, static_cast<std::uint32_t>(value));
}

void GgufHeader::number(std::string_view name, double value) {
  const auto stored = static_cast<float>(value);
  if (!std::isfinite(stored) || static_cast<double>(stored) != value)
    fail("{}: key {} would be {}, which is no 32-bit float: GGUF would hold another number", path_, name,
         value);
  key(name, GgufValueType::f32);
  append_raw(keys_, stored);
}

void GgufHeader::boolean(std::string_view name, bool value) {
  key(name, GgufValueType::boolean);
  append_raw(keys_, static_cast<std::uint8_t>(value));
}

void GgufHeader::text(std::string_view name, std::string_view value) {
  if (valid_utf8_prefix(value) != value.size()) fail("{}: key {} would be no UTF-8", path_, name);
  key(name, GgufValueType::string);
  append_text(keys_, value);
}

void GgufHeader::texts(std::string_view name, std::span<const std::string> values) {
  key(name, GgufValueType::array);
  append_raw(keys_, static_cast<std::uint32_t>(GgufValueType::string));
  append_raw<std::uint64_t>(keys_, values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (valid_utf8_prefix(values[i]) != values[i].size())
      fail("{}: key {}: element {} ({}) is no UTF-8", path_, name, i, quote(values[i]));
    append_text(keys_, values[i]);
  }
}

void GgufHeader::integers(std::string_view name, std::span<const std::int32_t> values) {
  key(name, GgufValueType::array);
  append_array(keys_, GgufValueType::i32, values);
}

void GgufHeader::floats(std::string_view name, std::span<const float> values) {
  key(name, GgufValueType::array);
  append_array(keys_, GgufValueType::f32, values);
}

std::uint64_t GgufHeader::tensor(std::string_view name, const Shape& shape, const Format& format) {
  const GgufTensorType* type = find_gguf_tensor_type(format);
  if (type == nullptr) fail("{}: tensor {}: GGUF has no {}", path_, name, format.name());
  if (shape.empty() || shape.size() > kGgufMaximumRank)
    fail("{}: tensor {}: {} dimensions, 1 to {} expected", path_, name, shape.size(), kGgufMaximumRank);
  const auto elements = checked_product(shape);
  const MatrixShape matrix = elements ? as_matrix(shape) : MatrixShape{};
  const auto size = elements ? packed_bytes(format, matrix.rows, matrix.columns) : std::nullopt;
  const auto padded = checked_add(data_bytes_, kGgufAlignment - 1);
  const std::uint64_t begin = padded ? *padded / kGgufAlignment * kGgufAlignment : 0;
  const auto end = size && padded ? checked_add(begin, *size) : std::nullopt;
  if (!end || *elements == 0)
    fail("{}: tensor {}: shape {} is empty or exceeds 2^64 bytes", path_, name, shape_text(shape));
  ++tensor_count_;
  append_text(tensors_, name);
  append_raw(tensors_, static_cast<std::uint32_t>(shape.size()));
  for (std::size_t axis = shape.size(); axis-- > 0;) append_raw(tensors_, shape[axis]);
  append_raw(tensors_, type->id);
  append_raw(tensors_, begin);
  data_bytes_ = *end;
  return begin;
}

std::string GgufHeader::bytes() const {
  std::string head = "GGUF";
  append_raw(head, kGgufVersion);
  append_raw(head, tensor_count_);
  append_raw(head, key_count_);
  head += keys_;
  head += tensors_;
  head.resize((head.size() + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment);
  return head;
}

}  // namespace assay
