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

constexpr std::uint32_t kVersion = 3;
constexpr std::uint32_t kMaximumRank = 4;
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::size_t kSmallestKey = 8 + 1 + 4 + 1;  // length, one letter, type, one byte
constexpr std::size_t kSmallestTensor =
    8 + 1 + 4 + 8 + 4 + 8;  // length, one letter, rank, one dim, type, offset

enum ValueType : std::uint32_t { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };
constexpr std::array<std::size_t, 13> kValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

struct TensorType {
  std::uint32_t id;
  const char* format;  // name in the format table
};
constexpr TensorType kTensorTypes[] = {
    {0, "f32"},   {1, "f16"},   {2, "q4_0"},  {3, "q4_1"},    {8, "q8_0"},    {10, "q2_k"}, {11, "q3_k"},
    {12, "q4_k"}, {13, "q5_k"}, {14, "q6_k"}, {20, "iq4_nl"}, {23, "iq4_xs"}, {30, "bf16"}};

GgufValue parse_array(GgufCursor& cursor, const std::string& key) {
  const auto type = cursor.number<std::uint32_t>(key);
  if (type == STRING) {
    const std::size_t count = cursor.count(sizeof(std::uint64_t), key);
    GgufStrings strings;
    strings.reserve(count);
    for (std::size_t i = 0; i < count; ++i) strings.push_back(cursor.string(key));
    return strings;
  }
  if (type == ARRAY) fail("{}: key {}: an array of arrays is not supported", cursor.path(), key);
  if (type >= kValueBytes.size())
    fail("{}: key {}: array of value type {}, 0 to 12 expected", cursor.path(), key, type);
  const std::size_t count = cursor.count(kValueBytes[type], key);
  return GgufNumbers{type, count, cursor.take(count * kValueBytes[type], key)};
}

GgufValue parse_value(GgufCursor& cursor, const std::string& key) {
  const auto type = cursor.number<std::uint32_t>(key);
  const auto widened = [&]<class Stored, class Wide>(Stored, Wide) -> GgufValue {
    return static_cast<Wide>(cursor.number<Stored>(key));
  };
  constexpr std::uint64_t kUnsigned = 0;
  constexpr std::int64_t kSigned = 0;
  switch (type) {
    case U8:
      return widened(std::uint8_t{}, kUnsigned);
    case U16:
      return widened(std::uint16_t{}, kUnsigned);
    case U32:
      return widened(std::uint32_t{}, kUnsigned);
    case U64:
      return widened(std::uint64_t{}, kUnsigned);
    case I8:
      return widened(std::int8_t{}, kSigned);
    case I16:
      return widened(std::int16_t{}, kSigned);
    case I32:
      return widened(std::int32_t{}, kSigned);
    case I64:
      return widened(std::int64_t{}, kSigned);
    case F32:
      return widened(float{}, double{});
    case F64:
      return widened(double{}, double{});
    case STRING:
      return cursor.string(key);
    case ARRAY:
      return parse_array(cursor, key);
    case BOOL: {
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
  if (version == __builtin_bswap32(kVersion))
    fail("{}: a big-endian GGUF file, little-endian expected", cursor.path());
  if (version != kVersion) fail("{}: GGUF version is {}, {} expected", cursor.path(), version, kVersion);
}

std::uint64_t alignment_of(const GgufFile& file) {
  const auto found = file.metadata.find("general.alignment");
  if (found == file.metadata.end()) return kDefaultAlignment;
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
  for (const TensorType& known : kTensorTypes)
    if (known.id == type) {
      FormatPtr format = find_format(known.format);
      assert(format != nullptr);
      return format;
    }
  std::string known;
  for (const TensorType& other : kTensorTypes)
    known += fmt::format("{}{} {}", known.empty() ? "" : ", ", other.format, other.id);
  fail("{}: tensor type is {}, which is not supported ({} are)", origin, type, known);
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
  if (rank < 1 || rank > kMaximumRank)
    fail("{}: {} dimensions, 1 to {} expected", origin, rank, kMaximumRank);
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
