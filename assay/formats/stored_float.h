#pragma once
// Scales and biases as f16, bf16 or f32 bytes.
#include <cstddef>
#include <string_view>

#include "assay/base/bytes.h"
#include "assay/base/dtype.h"
#include "assay/base/half.h"

namespace assay {

/// The value after a round trip through storage (may become infinite: callers check).
inline float through(DType dtype, float value) {
  if (dtype == DType::F16) return through_f16(value);
  if (dtype == DType::BF16) return through_bf16(value);
  return value;
}

inline float read_float(DType dtype, const std::byte* at) {
  if (dtype == DType::F16) return f16_to_f32(load<std::uint16_t>(at));
  if (dtype == DType::BF16) return bf16_to_f32(load<std::uint16_t>(at));
  return load<float>(at);
}

inline void write_float(DType dtype, float value, std::byte* at) {
  if (dtype == DType::F16)
    store(at, f32_to_f16(value));
  else if (dtype == DType::BF16)
    store(at, f32_to_bf16(value));
  else
    store(at, value);
}

/// As it ends a format's name: "f16", "bf16", "f32".
inline std::string_view parameter_suffix(DType dtype) {
  return dtype == DType::F16 ? "f16" : dtype == DType::BF16 ? "bf16" : "f32";
}

}  // namespace assay
