#include "assay/formats/floats.h"

#include <limits>

#include "assay/base/half.h"
#include "assay/formats/float_format.h"
#include "assay/formats/multiversion.h"

namespace assay {
namespace {

ASSAY_LOOP void encode_f32_loop(const float* values, std::size_t n, Code* codes) {
  for (std::size_t i = 0; i < n; ++i) codes[i] = std::bit_cast<Code>(values[i]);
}
constexpr Multiversion<encode_f32_loop> encode_f32;
ASSAY_LOOP void decode_f32_loop(const Code* codes, std::size_t n, float* values) {
  for (std::size_t i = 0; i < n; ++i) values[i] = std::bit_cast<float>(codes[i]);
}
constexpr Multiversion<decode_f32_loop> decode_f32;
ASSAY_LOOP void encode_f16_loop(const float* values, std::size_t n, Code* codes) {
  for (std::size_t i = 0; i < n; ++i) codes[i] = f32_to_f16(values[i]);
}
constexpr Multiversion<encode_f16_loop> encode_f16;
ASSAY_LOOP void decode_f16_loop(const Code* codes, std::size_t n, float* values) {
  for (std::size_t i = 0; i < n; ++i) values[i] = f16_to_f32(static_cast<std::uint16_t>(codes[i]));
}
constexpr Multiversion<decode_f16_loop> decode_f16;
ASSAY_LOOP void encode_bf16_loop(const float* values, std::size_t n, Code* codes) {
  for (std::size_t i = 0; i < n; ++i) codes[i] = f32_to_bf16(values[i]);
}
constexpr Multiversion<encode_bf16_loop> encode_bf16;
ASSAY_LOOP void decode_bf16_loop(const Code* codes, std::size_t n, float* values) {
  for (std::size_t i = 0; i < n; ++i) values[i] = bf16_to_f32(static_cast<std::uint16_t>(codes[i]));
}
constexpr Multiversion<decode_bf16_loop> decode_bf16;

struct F32 {
  using Bits = std::uint32_t;
  static constexpr DType kDType = DType::F32;
  static constexpr float kLargest = std::numeric_limits<float>::max();
  static Bits encode(float value) { return std::bit_cast<Bits>(value); }
  static float decode(Bits bits) { return std::bit_cast<float>(bits); }
  static constexpr auto encode_run = encode_f32;
  static constexpr auto decode_run = decode_f32;
};

struct F16 {
  using Bits = std::uint16_t;
  static constexpr DType kDType = DType::F16;
  static constexpr HalfFloat kHalf = HalfFloat::f16;
  static constexpr float kLargest = 65504.0f;
  static Bits encode(float value) { return f32_to_f16(value); }
  static float decode(Bits bits) { return f16_to_f32(bits); }
  static constexpr auto encode_run = encode_f16;
  static constexpr auto decode_run = decode_f16;
};

struct BF16 {
  using Bits = std::uint16_t;
  static constexpr DType kDType = DType::BF16;
  static constexpr HalfFloat kHalf = HalfFloat::bf16;
  static constexpr float kLargest = 0x1.FEp127f;
  static Bits encode(float value) { return f32_to_bf16(value); }
  static float decode(Bits bits) { return bf16_to_f32(bits); }
  static constexpr auto encode_run = encode_bf16;
  static constexpr auto decode_run = decode_bf16;
};

}  // namespace

FormatPtr f32_format() {
  return std::make_shared<FloatFormat<F32>>("f32", "IEEE binary32, 32 bits; safetensors, GGUF");
}
FormatPtr f16_format() {
  return std::make_shared<FloatFormat<F16>>("f16", "IEEE binary16, 16 bits; safetensors, MLX, GGUF");
}
FormatPtr bf16_format() {
  return std::make_shared<FloatFormat<BF16>>("bf16", "bfloat16, 16 bits; safetensors, MLX, GGUF");
}
FormatPtr khf1_format() {
  return std::make_shared<FloatFormat<F16>>("khf1", "IEEE binary16, 16 bits; lattice .f16");
}

}  // namespace assay
