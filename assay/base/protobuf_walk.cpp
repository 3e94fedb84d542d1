#include "assay/base/protobuf_walk.h"

#include <cstring>

#include "assay/base/error.h"

namespace assay {

std::string_view ProtobufWalk::take(std::uint64_t count) {
  if (count > rest_.size())
    fail("{}: protobuf field of {} bytes, but only {} are left (truncated)", origin_, count, rest_.size());
  const std::string_view taken = rest_.substr(0, static_cast<std::size_t>(count));
  rest_.remove_prefix(static_cast<std::size_t>(count));
  return taken;
}

std::uint64_t ProtobufWalk::varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(take(1).front());
    value |= std::uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
  fail("{}: protobuf number longer than 10 bytes", origin_);
}

std::optional<ProtobufField> ProtobufWalk::next() {
  if (rest_.empty()) return std::nullopt;
  const std::uint64_t tag = varint();
  ProtobufField field;
  field.wire_type = static_cast<int>(tag & 7);
  if (tag >> 3 == 0 || tag >> 3 > (1u << 29) - 1)
    fail("{}: protobuf field number {} is not legal", origin_, tag >> 3);
  field.number = static_cast<std::uint32_t>(tag >> 3);
  switch (field.wire_type) {
    case 0:
      field.value = varint();
      break;
    case 1:
    case 5: {
      const std::string_view bytes = take(field.wire_type == 1 ? 8 : 4);
      std::memcpy(&field.value, bytes.data(), bytes.size());
      break;
    }
    case 2:
      field.bytes = take(varint());
      break;
    default:
      fail("{}: protobuf field {} has wire type {}, which is not legal", origin_, field.number,
           field.wire_type);
  }
  return field;
}

}  // namespace assay
