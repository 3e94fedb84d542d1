#include <algorithm>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/base/json.h"
#include "assay/storage/safetensors.h"

namespace assay {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr int kMaxDepth = 8;  // a valid header needs 3
constexpr std::size_t kMaxDims = 8;

std::uint64_t natural(const Json& value, const std::string& where) {
  if (!value.is_number_unsigned()) fail("{} is {}, a non-negative integer expected", where, value.dump());
  return value.get<std::uint64_t>();
}

Shape parse_shape(const Json& entry, const std::string& where) {
  const auto found = entry.find("shape");
  if (found == entry.end() || !found->is_array()) fail("{}: no array \"shape\"", where);
  if (found->size() > kMaxDims)
    fail("{}: {} dimensions, at most {} expected", where, found->size(), kMaxDims);
  Shape shape;
  for (const Json& dim : *found) shape.push_back(natural(dim, where + ": dimension"));
  return shape;
}

std::uint64_t array_bytes(const Shape& shape, DType dtype, const std::string& where) {
  const auto elements = checked_product(shape);
  const auto bytes = elements ? checked_multiply(*elements, dtype_size(dtype)) : std::nullopt;
  if (!bytes) fail("{}: shape {} overflows 64 bits", where, shape_text(shape));
  return *bytes;
}

SafetensorsEntry parse_entry(const std::string& name, const Json& entry, std::uint64_t data_begin,
                             std::uint64_t data_bytes, const std::string& origin) {
  const std::string where = fmt::format("{}: tensor {}", origin, name);
  require_printable(name, origin);
  if (!entry.is_object()) fail("{}: described by {}, an object expected", where, entry.type_name());
  SafetensorsEntry parsed;
  parsed.name = name;
  const auto dtype_text = json_get<std::string>(entry, "dtype", where);
  const auto dtype = parse_dtype(dtype_text);
  if (!dtype) fail("{}: dtype \"{}\" is not supported", where, dtype_text);
  parsed.dtype = *dtype;
  parsed.shape = parse_shape(entry, where);
  const auto offsets = entry.find("data_offsets");
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2)
    fail("{}: no \"data_offsets\" of two numbers", where);
  const std::uint64_t begin = natural((*offsets)[0], where + ": data offset");
  const std::uint64_t end = natural((*offsets)[1], where + ": data offset");
  if (begin > end) fail("{}: data begins at {} and ends before it, at {}", where, begin, end);
  if (end > data_bytes)
    fail("{}: data ends at byte {}, the data section has {} (truncated)", where, end, data_bytes);
  const std::uint64_t expected = array_bytes(parsed.shape, parsed.dtype, where);
  if (expected != end - begin)
    fail("{}: {} bytes of data, {} {} needs {}", where, end - begin, dtype_text, shape_text(parsed.shape),
         expected);
  // Without elements a dimension costs no bytes, so none would bound what it makes others do.
  for (const std::uint64_t dim : parsed.shape)
    if (expected == 0 && dim > data_begin + data_bytes)
      fail("{}: shape {} has no elements, but a dimension beyond the {} bytes of the file", where,
           shape_text(parsed.shape), data_begin + data_bytes);
  parsed.begin = data_begin + begin;
  parsed.end = data_begin + end;
  return parsed;
}

void check_metadata(const Json& metadata, const std::string& origin) {
  if (!metadata.is_object()) fail("{}: __metadata__ is {}, an object expected", origin, metadata.type_name());
  for (const auto& [key, value] : metadata.items())
    if (!value.is_string())
      fail("{}: __metadata__ \"{}\" is {}, a string expected", origin, key, value.type_name());
}

void check_contiguous(const std::vector<SafetensorsEntry>& entries, std::uint64_t data_begin,
                      std::uint64_t file_end, const std::string& origin) {
  std::uint64_t at = data_begin;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin < at)
      fail("{}: tensor {}: data overlaps the tensor before it by {} bytes", origin, entry.name,
           at - entry.begin);
    if (entry.begin > at)
      fail("{}: tensor {}: a gap of {} bytes before it", origin, entry.name, entry.begin - at);
    at = entry.end;
  }
  if (at != file_end) fail("{}: {} bytes after the last tensor", origin, file_end - at);
}

}  // namespace

void require_printable(const std::string& tensor, const std::string& origin) {
  for (const char c : tensor)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      fail("{}: tensor {}: control characters in its name", origin, Json(tensor).dump());
}

std::vector<SafetensorsEntry> parse_safetensors_header(Bytes file, const std::string& origin) {
  if (file.size() < kLengthBytes)
    fail("{}: {} bytes, a safetensors file has at least {} (truncated)", origin, file.size(), kLengthBytes);
  const auto header_bytes = load<std::uint64_t>(file.data());
  if (header_bytes > file.size() - kLengthBytes)
    fail("{}: header of {} bytes, the file has {} behind its length (truncated or no safetensors file)",
         origin, header_bytes, file.size() - kLengthBytes);
  if (header_bytes > kMaxHeaderBytes)
    fail("{}: header of {} bytes, at most {} expected", origin, header_bytes, kMaxHeaderBytes);
  const Bytes text = file.subspan(kLengthBytes, header_bytes);
  if (text.empty() || text[0] != std::byte{'{'}) fail("{}: the header does not begin with '{{'", origin);

  // The JSON library takes a NUL for the end of the text and would ignore what follows.
  if (std::find(text.begin(), text.end(), std::byte{0}) != text.end()) fail("{}: header: a NUL byte", origin);
  const Json header = parse_json({reinterpret_cast<const char*>(text.data()), text.size()},
                                 origin + ": header", {.bytes = kMaxHeaderBytes, .depth = kMaxDepth});
  const std::uint64_t data_begin = kLengthBytes + header_bytes;
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__")
      check_metadata(entry, origin);
    else
      entries.push_back(parse_entry(name, entry, data_begin, file.size() - data_begin, origin));
  }
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_contiguous(entries, data_begin, file.size(), origin);
  return entries;
}

}  // namespace assay
