#pragma once
// What all formats with decode(q) = (q - zero) * scale + bias have in common: everything but their published
// fit and their bytes.
#include "assay/formats/format.h"

namespace assay {

/// How the parameters of a unit are stored, hence which ones are legal.
struct ParameterRule {
  DType dtype = DType::F16;  // of the scale, and of the bias where there is one
  bool stored_bias = false;
  bool positive_scale = false;  // else any sign, and zero is legal when read
};

/// A format that can only be read (can_encode() == false) shows no affine view, and store() and round()
/// refuse.
class AffineFormat : public Format {
 public:
  bool valid(const Params& params, std::span<const Code> codes, std::string* why) const override;
  void decode(std::span<const Params> params, std::span<const Code> codes,
              std::span<float> out) const override;
  void round(std::span<const Params> params, std::span<const float> values, std::span<Code> codes,
             std::span<float> out) const override;
  std::optional<AffineView> affine() const override;
  std::optional<CodeLine> code_line() const override;
  std::optional<Params> store(float scale, float bias) const override;
  std::pair<float, float> range(const Params& params) const override;

 protected:
  AffineFormat(const AffineView& view, const ParameterRule& rule) : view_(view), rule_(rule) {}

  const AffineView& view() const { return view_; }
  const ParameterRule& rule() const { return rule_; }
  /// The value as stored. Throws Error naming the unit's first element when storage makes it infinite (or
  /// NaN).
  float stored(const char* what, float value, std::size_t first_element) const;

 private:
  AffineView view_;
  ParameterRule rule_;
};

}  // namespace assay
