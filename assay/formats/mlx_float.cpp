#include "assay/formats/mlx_float.h"

#include <array>
#include <cassert>
#include <cmath>
#include <limits>

#include "assay/base/bit_stream.h"
#include "assay/base/error.h"
#include "assay/formats/e4m3.h"

namespace assay {
namespace {

// 1 sign, 2 exponent, 1 mantissa bit.
constexpr std::array<float, 16> kE2M1 = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                         -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

constexpr float kE2M1Step = 0.5f;
constexpr auto kE2M1Levels = [] {
  std::array<Code, 16> levels{};
  for (std::size_t i = 0; i < levels.size(); ++i) levels[i] = static_cast<Code>(kE2M1[i] / kE2M1Step);
  return levels;
}();

// 2^(byte - 127); 255 is NaN.
float e8m0_to_f32(unsigned byte) {
  return byte == 255u ? std::numeric_limits<float>::quiet_NaN()
                      : std::ldexp(1.0f, static_cast<int>(byte) - 127);
}

template <std::size_t N>
std::array<float, N> tabulate(float (*value)(unsigned)) {
  std::array<float, N> table{};
  for (unsigned i = 0; i < N; ++i) table[i] = value(i);
  return table;
}

const std::array<float, 256>& e8m0_table() {
  static const auto table = tabulate<256>(e8m0_to_f32);
  return table;
}

struct Traits {
  std::string name, summary;
  int bits;
  std::size_t group;
  std::span<const float> elements;  // value of every code
  std::span<const float> scales;    // value of every scale byte
  float largest_element;
  std::span<const Code> levels = {};  // of every code, where they are multiples of a step
  float step = 1.0f;
  float factor = 1.0f;  // of the whole tensor
};

class MlxFloatFormat final : public Format {
 public:
  explicit MlxFloatFormat(Traits traits) : traits_(std::move(traits)) {}

  std::string name() const override { return traits_.name; }
  std::string summary() const override { return traits_.summary; }
  bool can_encode() const override { return false; }

  std::optional<CodeLine> code_line() const override {
    if (traits_.levels.empty()) return std::nullopt;
    return CodeLine{.codes = static_cast<Code>(traits_.levels.size()),
                    .levels = traits_.levels,
                    .step = traits_.step * traits_.factor};
  }

  Layout layout(std::uint64_t /*columns*/) const override {
    return {Share::run_in_row,
            traits_.group,
            true,
            1,
            {{"weight", DType::U32, code_bytes()}, {"scales", DType::U8, 1}}};
  }

  bool valid(const Params& params, std::span<const Code> codes, std::string* why) const override {
    if (!std::isfinite(params.scale)) {
      *why = "the scale byte means NaN, expected a number";
      return false;
    }
    for (std::size_t i = 0; i < codes.size(); ++i) {
      if (codes[i] >= 0 && static_cast<std::size_t>(codes[i]) < traits_.elements.size() &&
          std::isfinite(traits_.elements[static_cast<std::size_t>(codes[i])]))
        continue;
      *why = fmt::format("code {:#x} of element {} is not a number of this format", codes[i], i);
      return false;
    }
    return true;
  }

  void decode(std::span<const Params> params, std::span<const Code> codes,
              std::span<float> out) const override {
    assert(codes.size() == params.size() * traits_.group && out.size() == codes.size());
    const float* elements = traits_.elements.data();
    const Code* code = codes.data();
    float* value = out.data();
    for (const Params& group : params)
      for (std::size_t i = 0; i < traits_.group; ++i)
        *value++ = elements[*code++] * group.scale * traits_.factor;
  }

  void unpack(std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) const override {
    assert(planes.size() == 2 && planes[0].size() == params.size() * code_bytes() &&
           planes[1].size() == params.size());
    unpack_bits(planes[0], traits_.bits, codes);
    for (std::size_t i = 0; i < params.size(); ++i)
      params[i] = {traits_.scales[std::to_integer<std::size_t>(planes[1][i])], 0.0f};
  }

  std::pair<float, float> range(const Params& params) const override {
    const float reach = std::fabs(traits_.largest_element * params.scale * traits_.factor);
    return {-reach, reach};
  }

 private:
  std::size_t code_bytes() const { return traits_.group * static_cast<std::size_t>(traits_.bits) / 8; }
  Traits traits_;
};

Traits nvfp4_traits() {
  return {"nvfp4", "E2M1 in groups of 16 in a row, E4M3 scale, 4.5 bits; MLX, read only",
          4,       16,
          kE2M1,   e4m3_values(),
          6.0f};
}

}  // namespace

FormatPtr mxfp4_format() {
  return std::make_shared<MlxFloatFormat>(
      Traits{"mxfp4", "E2M1 in groups of 32 in a row, E8M0 scale, 4.25 bits; MLX, read only", 4, 32, kE2M1,
             e8m0_table(), 6.0f, kE2M1Levels, kE2M1Step});
}
FormatPtr mxfp8_format() {
  return std::make_shared<MlxFloatFormat>(
      Traits{"mxfp8", "E4M3 in groups of 32 in a row, E8M0 scale, 8.25 bits; MLX, read only", 8, 32,
             e4m3_values(), e8m0_table(), 448.0f});
}
FormatPtr nvfp4_format() {
  return std::make_shared<MlxFloatFormat>(nvfp4_traits());
}

FormatPtr nvfp4_with_global_scale(float global_scale) {
  if (!std::isfinite(global_scale)) fail("nvfp4: global scale {} is not finite", global_scale);
  Traits traits = nvfp4_traits();
  traits.factor = global_scale / (448.0f * 6.0f);
  return std::make_shared<MlxFloatFormat>(std::move(traits));
}

}  // namespace assay
