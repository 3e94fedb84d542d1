#pragma once
// The protobuf wire format, read field by field with every length checked.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace assay {

struct ProtobufField {
  std::uint32_t number = 0;
  int wire_type = 0;        // 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes
  std::uint64_t value = 0;  // of the numeric types
  std::string_view bytes;   // of the length-delimited one
};

class ProtobufWalk {
 public:
  ProtobufWalk(std::string_view message, const std::string& origin) : rest_(message), origin_(origin) {}

  /// The next field, or nothing at the end. Throws Error for broken encodings and for groups (long
  /// deprecated).
  std::optional<ProtobufField> next();

 private:
  std::uint64_t varint();
  std::string_view take(std::uint64_t count);

  std::string_view rest_;
  const std::string& origin_;
};

}  // namespace assay
