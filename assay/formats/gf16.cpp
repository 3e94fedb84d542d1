#include "assay/formats/gf16.h"

#include "assay/formats/float_format.h"
#include "assay/formats/multiversion.h"

namespace assay {
namespace {

ASSAY_LOOP void encode_gf16_loop(const float* values, std::size_t n, Code* codes) {
  for (std::size_t i = 0; i < n; ++i) codes[i] = weight_to_gf16(values[i]);
}
constexpr Multiversion<encode_gf16_loop> encode_gf16;
ASSAY_LOOP void decode_gf16_loop(const Code* codes, std::size_t n, float* values) {
  for (std::size_t i = 0; i < n; ++i) values[i] = gf16_to_f32(static_cast<std::uint16_t>(codes[i]));
}
constexpr Multiversion<decode_gf16_loop> decode_gf16;

struct Gf16 {
  using Bits = std::uint16_t;
  static constexpr DType kDType = DType::U16;
  static constexpr HalfFloat kHalf = HalfFloat::gf16;
  static constexpr float kLargest = kGf16Largest;
  static Bits encode(float value) { return weight_to_gf16(value); }
  static float decode(Bits bits) { return gf16_to_f32(bits); }
  static constexpr auto encode_run = encode_gf16;
  static constexpr auto decode_run = decode_gf16;
};

}  // namespace

FormatPtr gf16_format() {
  return std::make_shared<FloatFormat<Gf16>>("gf16",
                                             "1/6/9-bit float, bias 31, 16 bits, saturating; Assay only");
}

}  // namespace assay
