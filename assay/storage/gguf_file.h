#pragma once
// The GGUF container: metadata keys and tensor infos parsed from bytes, every count and length held against
// the file's size before anything is allocated. Says nothing of what the metadata means.
//
//   "GGUF"  u32 version  u64 tensors  u64 keys  { string key, u32 type, value }  { string name, u32 ndim,
//   u64 dims[ndim] fastest first, u32 type, u64 offset }  padding to general.alignment  data (little-endian)
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "assay/base/bytes.h"
#include "assay/formats/format.h"
#include "assay/storage/tensor.h"

namespace assay {

inline constexpr std::uint32_t kGgufVersion = 3;
inline constexpr std::uint64_t kGgufAlignment = 32;  // where general.alignment does not say otherwise
inline constexpr std::size_t kGgufMaximumRank = 4;

/// What a value is, as the files number it.
enum class GgufValueType : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

/// What a tensor is, likewise.
struct GgufTensorType {
  std::uint32_t id;
  const char* format;       // name in the format table
  std::uint32_t file_type;  // general.file_type of a file that holds mostly this
};
/// Null: not in the table, "f32, f16, ...".
const GgufTensorType* find_gguf_tensor_type(std::uint32_t id);
const GgufTensorType* find_gguf_tensor_type(const Format& format);
std::string gguf_tensor_type_names();

/// Numbers of one kind, as stored.
struct GgufNumbers {
  GgufValueType type = GgufValueType::u8;  // of the elements
  std::size_t count = 0;
  Bytes bytes;
};
using GgufStrings = std::vector<std::string_view>;

/// Integers are widened; strings are valid UTF-8 and views of the file.
using GgufValue =
    std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view, GgufNumbers, GgufStrings>;

struct GgufTensor {
  std::string name;  // as stored: "blk.0.attn_q.weight"
  Shape shape;       // logical: slowest axis first, the reverse of the file's order
  FormatPtr format;
  Bytes data;
};

struct GgufFile {
  std::string path;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensor> tensors;  // in the file's order
};

/// Parses and checks a whole file; `path` opens every message. The result views `bytes`. Throws Error.
GgufFile parse_gguf_file(Bytes bytes, const std::string& path);

}  // namespace assay
