#include "assay/model/rope.h"

#include <cmath>
#include <numbers>

namespace assay {

namespace {

/// Llama 3: long wavelengths are stretched by `factor`, short ones kept, those between interpolated.
double scaled_frequency(double frequency, const RopeScaling& scaling) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength > scaling.original_length / scaling.low_frequency_factor) return frequency / scaling.factor;
  if (wavelength < scaling.original_length / scaling.high_frequency_factor) return frequency;
  const double share = (scaling.original_length / wavelength - scaling.low_frequency_factor) /
                       (scaling.high_frequency_factor - scaling.low_frequency_factor);
  return (1 - share) * frequency / scaling.factor + share * frequency;
}

}  // namespace

std::vector<double> rope_frequencies(int head_dim, double theta, const std::optional<RopeScaling>& scaling) {
  std::vector<double> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t j = 0; j < frequencies.size(); ++j) {
    const double frequency = std::pow(theta, -2.0 * static_cast<double>(j) / head_dim);
    frequencies[j] = scaling ? scaled_frequency(frequency, *scaling) : frequency;
  }
  return frequencies;
}

}  // namespace assay
