#pragma once
// Formats that store every weight as a float of its own: no parameters, codes are bit patterns. The element
// type says how one value is converted.
#include <cassert>
#include <cmath>

#include "assay/base/error.h"
#include "assay/formats/finite.h"
#include "assay/formats/format.h"
#include "assay/formats/statistics.h"

namespace assay {

/// Element is an empty struct with: Bits (the stored unsigned type), kDType, kHalf (of halves), kLargest
/// (largest finite value), and static conversions Bits encode(float) (nearest, ties to even; infinite on
/// overflow) and float decode(Bits), each also for runs: encode_run(const float*, size_t n, Code*),
/// decode_run(const Code*, size_t n, float*).
template <class Element>
class FloatFormat final : public Format {
 public:
  FloatFormat(std::string name, std::string summary) : name_(std::move(name)), summary_(std::move(summary)) {}

  std::string name() const override { return name_; }
  std::string summary() const override { return summary_; }

  Layout layout(std::uint64_t /*columns*/) const override {
    return {Share::run_flat, 1, false, 1, {{"weight", Element::kDType, sizeof(Bits)}}};
  }

  bool valid(const Params& /*params*/, std::span<const Code> codes, std::string* why) const override {
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const float value = Element::decode(to_bits(codes[i]));
      if (std::isfinite(value)) continue;
      *why = fmt::format("element {} is {} (bits {:#06x}), expected a finite value", i, value,
                         to_bits(codes[i]));
      return false;
    }
    return true;
  }

  void decode(std::span<const Params> /*params*/, std::span<const Code> codes,
              std::span<float> out) const override {
    assert(codes.size() == out.size());
    Element::decode_run(codes.data(), codes.size(), out.data());
  }

  void reference(std::span<const float> weights, std::span<Params> /*params*/,
                 std::span<Code> codes) const override {
    assert(codes.size() == weights.size());
    demand_finite(weights);
    // Few tensors come near the limit: element by element only where the largest magnitude says so.
    const bool near_limit = largest_magnitude(weights.data(), weights.size()) > Element::kLargest;
    for (std::size_t i = 0; near_limit && i < weights.size(); ++i)
      if (!std::isfinite(Element::decode(Element::encode(weights[i]))))
        fail("element {}: {} is beyond {} (largest {}); choose bf16 or f32 for this tensor", i, weights[i],
             name_, Element::kLargest);
    Element::encode_run(weights.data(), weights.size(), codes.data());
  }

  /// As reference(): ties go to even and overflow is an error, as in every conversion of floats.
  void round(std::span<const Params> params, std::span<const float> values, std::span<Code> codes,
             std::span<float> out) const override {
    reference(values, {}, codes);
    decode(params, codes, out);
  }

  void pack(std::span<const Params> /*params*/, std::span<const Code> codes,
            std::span<const MutableBytes> planes) const override {
    assert(planes.size() == 1 && planes[0].size() == codes.size() * sizeof(Bits));
    std::byte* at = planes[0].data();
    for (std::size_t i = 0; i < codes.size(); ++i) assay::store(at + i * sizeof(Bits), to_bits(codes[i]));
  }

  void unpack(std::span<const Bytes> planes, std::span<Params> /*params*/,
              std::span<Code> codes) const override {
    assert(planes.size() == 1 && planes[0].size() == codes.size() * sizeof(Bits));
    const std::byte* at = planes[0].data();
    for (std::size_t i = 0; i < codes.size(); ++i)
      codes[i] = static_cast<Code>(load<Bits>(at + i * sizeof(Bits)));
  }

  std::optional<HalfFloat> half_float() const override {
    if constexpr (requires { Element::kHalf; }) return Element::kHalf;
    return std::nullopt;
  }

  std::pair<float, float> range(const Params& /*params*/) const override {
    return {-Element::kLargest, Element::kLargest};
  }

 private:
  using Bits = typename Element::Bits;
  static Bits to_bits(Code code) { return static_cast<Bits>(code); }

  std::string name_, summary_;
};

}  // namespace assay
