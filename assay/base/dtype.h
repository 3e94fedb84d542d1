#pragma once
// Element types of stored arrays, named as in safetensors.
#include <cstddef>
#include <optional>
#include <string_view>

namespace assay {

enum class DType { BOOL, U8, I8, F8_E4M3, F8_E5M2, U16, I16, F16, BF16, U32, I32, F32, U64, I64, F64 };

std::size_t dtype_size(DType dtype);                      // bytes per element
std::string_view dtype_name(DType dtype);                 // "BF16"
std::optional<DType> parse_dtype(std::string_view name);  // exact, upper case
inline bool is_float(DType d) {
  return d == DType::F16 || d == DType::BF16 || d == DType::F32;
}

}  // namespace assay
