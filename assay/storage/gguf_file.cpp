#include "assay/storage/gguf_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/storage/gguf_cursor.h"

namespace assay {
namespace {

constexpr std::size_t kSmallestKey = 8 + 1 + 4 + 1;  // length, one letter, type, one byte
constexpr std::size_t kSmallestTensor =
    8 + 1 + 4 + 8 + 4 + 8;  // length, one letter, rank, one dim, type, offset

constexpr std::array<std::size_t, 13> kValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

constexpr GgufTensorType kTensorTypes[] = {
    {0, "f32", 0},      {1, "f16", 1},      {2, "q4_0", 2},   {3, "q4_1", 3},   {8, "q8_0", 7},
    {10, "q2_k", 10},   {11, "q3_k", 12},   {12, "q4_k", 15}, {13, "q5_k", 17}, {14, "q6_k", 18},
    {20, "iq4_nl", 25}, {23, "iq4_xs", 30}, {30, "bf16", 32}};

GgufValue parse_array(GgufCursor& cursor, const std::string& key) {
  const auto type = cursor.number<std::uint32_t>(key);
  if (type == static_cast<std::uint32_t>(GgufValueType::string)) {
    const std::size_t count = cursor.count(sizeof(std::uint64_t), key);
    GgufStrings strings;
    strings.reserve(count);
    for (std::size_t i = 0; i < count; ++i) strings.push_back(cursor.string(key));
    return strings;
  }
  if (type == static_cast<std::uint32_t>(GgufValueType::array))
    fail("{}: key {}: an array of arrays is not supported", cursor.path(), key);
  if (type >= kValueBytes.size())
    fail("{}: key {}: array of value type {}, 0 to 12 expected", cursor.path(), key, type);
  const std::size_t count = cursor.count(kValueBytes[type], key);
  return GgufNumbers{static_cast<GgufValueType>(type), count, cursor.take(count * kValueBytes[type], key)};
}

GgufValue parse_value(GgufCursor& cursor, const std::string& key) {
  const auto type = cursor.number<std::uint32_t>(key);
  const auto widened = [&]<class Stored, class Wide>(Stored, Wide) -> GgufValue {
    return static_cast<Wide>(cursor.number<Stored>(key));
  };
  constexpr std::uint64_t kUnsigned = 0;
  constexpr std::int64_t kSigned = 0;
  switch (static_cast<GgufValueType>(type)) {
    case GgufValueType::u8:
      return widened(std::uint8_t{}, kUnsigned);
    case GgufValueType::u16:
      return widened(std::uint16_t{}, kUnsigned);
    case GgufValueType::u32:
      return widened(std::uint32_t{}, kUnsigned);
    case GgufValueType::u64:
      return widened(std::uint64_t{}, kUnsigned);
    case GgufValueType::i8:
      return widened(std::int8_t{}, kSigned);
    case GgufValueType::i16:
      return widened(std::int16_t{}, kSigned);
    case GgufValueType::i32:
      return widened(std::int32_t{}, kSigned);
    case GgufValueType::i64:
      return widened(std::int64_t{}, kSigned);
    case GgufValueType::f32:
      return widened(float{}, double{});
    case GgufValueType::f64:
      return widened(double{}, double{});
    case GgufValueType::string:
      return cursor.string(key);
    case GgufValueType::array:
      return parse_array(cursor, key);
    case GgufValueType::boolean: {
      const auto stored = cursor.number<std::uint8_t>(key);
      if (stored > 1) fail("{}: key {}: a bool is {}, 0 or 1 expected", cursor.path(), key, stored);
      return stored == 1;
    }
    default:
      fail("{}: key {}: value type is {}, 0 to 12 expected", cursor.path(), key, type);
  }
}

void check_magic_and_version(GgufCursor& cursor) {
  const Bytes magic = cursor.take(4, "the magic");
  if (std::string_view(reinterpret_cast<const char*>(magic.data()), 4) != "GGUF")
    fail("{}: does not begin with GGUF: not a GGUF file", cursor.path());
  const auto version = cursor.number<std::uint32_t>("the version");
  if (version == __builtin_bswap32(kGgufVersion))
    fail("{}: a big-endian GGUF file, little-endian expected", cursor.path());
  if (version != kGgufVersion)
    fail("{}: GGUF version is {}, {} expected", cursor.path(), version, kGgufVersion);
}

std::uint64_t alignment_of(const GgufFile& file) {
  const auto found = file.metadata.find("general.alignment");
  if (found == file.metadata.end()) return kGgufAlignment;
  const auto* value = std::get_if<std::uint64_t>(&found->second);
  if (value == nullptr || !std::has_single_bit(*value) || *value > std::numeric_limits<std::uint32_t>::max())
    fail("{}: key general.alignment is {}, a power of two expected", file.path,
         value == nullptr ? "no unsigned integer" : std::to_string(*value));
  return *value;
}

/// A tensor info before its data is placed.
struct TensorInfo {
  GgufTensor tensor;
  std::uint64_t offset = 0;  // from the data section
  std::uint64_t bytes = 0;
};

FormatPtr format_of(std::uint32_t type, const std::string& origin) {
  const GgufTensorType* known = find_gguf_tensor_type(type);
  if (known == nullptr)
    fail("{}: tensor type is {}, which is not supported ({} are)", origin, type, gguf_tensor_type_names());
  FormatPtr format = find_format(known->format);
  assert(format != nullptr);
  return format;
}

/// Bytes of the data: rows are whole numbers of blocks, so nothing is rounded up.
std::uint64_t data_bytes(const GgufTensor& tensor, const std::string& origin) {
  const std::uint64_t columns = tensor.shape.back();
  const Layout layout = tensor.format->layout(columns);
  if (columns % layout.record_run() != 0)
    fail("{}: rows of {} weights, a multiple of {} expected for {}", origin, columns, layout.record_run(),
         tensor.format->name());
  const auto elements = checked_product(tensor.shape);
  if (!elements) fail("{}: shape {} has more than 2^64 elements", origin, shape_text(tensor.shape));
  const auto bytes = checked_multiply(*elements / layout.record_run(), layout.planes.front().record_bytes);
  if (!bytes) fail("{}: shape {} exceeds 2^64 bytes", origin, shape_text(tensor.shape));
  return *bytes;
}

TensorInfo parse_tensor_info(GgufCursor& cursor) {
  TensorInfo info;
  info.tensor.name = cursor.string("a tensor's name");
  const std::string origin = cursor.path() + ": tensor " + info.tensor.name;
  const auto rank = cursor.number<std::uint32_t>("a tensor's rank");
  if (rank < 1 || rank > kGgufMaximumRank)
    fail("{}: {} dimensions, 1 to {} expected", origin, rank, kGgufMaximumRank);
  for (std::uint32_t axis = 0; axis < rank; ++axis) {
    const auto dim = cursor.number<std::uint64_t>("a tensor's shape");
    if (dim == 0) fail("{}: a dimension of 0, at least 1 expected", origin);
    info.tensor.shape.insert(info.tensor.shape.begin(), dim);
  }
  info.tensor.format = format_of(cursor.number<std::uint32_t>("a tensor's type"), origin);
  info.offset = cursor.number<std::uint64_t>("a tensor's offset");
  info.bytes = data_bytes(info.tensor, origin);
  return info;
}

/// Cuts the data section into the tensors: aligned, inside, disjoint, and nothing unaccounted for between or
/// behind.
void place_tensors(std::vector<TensorInfo>& infos, Bytes data, std::uint64_t alignment,
                   const std::string& path) {
  std::vector<TensorInfo*> by_offset;
  by_offset.reserve(infos.size());
  for (TensorInfo& info : infos) by_offset.push_back(&info);
  std::stable_sort(by_offset.begin(), by_offset.end(),
                   [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; });
  std::uint64_t end = 0;
  for (TensorInfo* info : by_offset) {
    const std::string& name = info->tensor.name;
    if (info->offset % alignment != 0)
      fail("{}: tensor {}: offset {} is no multiple of the alignment {}", path, name, info->offset,
           alignment);
    const auto stop = checked_add(info->offset, info->bytes);
    if (!stop || *stop > data.size())
      fail("{}: tensor {}: {} bytes at offset {} of a data section of {} bytes (truncated)", path, name,
           info->bytes, info->offset, data.size());
    if (info->offset < end)
      fail("{}: tensor {}: offset {} overlaps the tensor before it, which ends at {}", path, name,
           info->offset, end);
    if (info->offset - end >= alignment)
      fail("{}: tensor {}: offset {} leaves a gap behind the tensor before it, which ends at {}", path, name,
           info->offset, end);
    info->tensor.data =
        data.subspan(static_cast<std::size_t>(info->offset), static_cast<std::size_t>(info->bytes));
    end = *stop;
  }
  if (data.size() - end >= alignment) fail("{}: {} bytes after the last tensor", path, data.size() - end);
}

}  // namespace

const GgufTensorType* find_gguf_tensor_type(std::uint32_t id) {
  const auto* found = std::ranges::find(kTensorTypes, id, &GgufTensorType::id);
  return found == std::end(kTensorTypes) ? nullptr : found;
}

const GgufTensorType* find_gguf_tensor_type(const Format& format) {
  const auto* found = std::ranges::find_if(
      kTensorTypes, [&](const GgufTensorType& type) { return format.name() == type.format; });
  return found == std::end(kTensorTypes) ? nullptr : found;
}

std::string gguf_tensor_type_names() {
  std::string names;
  for (const GgufTensorType& type : kTensorTypes)
    names += fmt::format("{}{} {}", names.empty() ? "" : ", ", type.format, type.id);
  return names;
}

GgufFile parse_gguf_file(Bytes bytes, const std::string& path) {
  GgufCursor cursor(bytes, path);
  check_magic_and_version(cursor);
  const std::size_t tensors = cursor.count(kSmallestTensor, "the tensor count");
  const std::size_t keys = cursor.count(kSmallestKey, "the key count");

  GgufFile file;
  file.path = path;
  for (std::size_t i = 0; i < keys; ++i) {
    std::string key(cursor.string("a key"));
    GgufValue value = parse_value(cursor, key);
    const auto [at, is_new] = file.metadata.emplace(std::move(key), std::move(value));
    if (!is_new) fail("{}: key {} occurs twice", path, at->first);
  }
  std::vector<TensorInfo> infos;
  infos.reserve(tensors);
  std::set<std::string> names;
  for (std::size_t i = 0; i < tensors; ++i) {
    infos.push_back(parse_tensor_info(cursor));
    const std::string& name = infos.back().tensor.name;
    if (!names.insert(name).second) fail("{}: tensor {} occurs twice", path, name);
  }

  const std::uint64_t alignment = alignment_of(file);
  const std::uint64_t padding = (alignment - cursor.position() % alignment) % alignment;
  Bytes data;
  if (!infos.empty()) {  // a file of metadata alone may end without padding
    cursor.take(padding, "the padding before the data");
    data = bytes.subspan(cursor.position());
  }
  place_tensors(infos, data, alignment, path);
  for (TensorInfo& info : infos) file.tensors.push_back(std::move(info.tensor));
  return file;
}

}  // namespace assay
