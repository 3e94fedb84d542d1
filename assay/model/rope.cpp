#include "assay/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "assay/parallel/threads.h"

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

RopeAngles::RopeAngles(std::span<const double> frequencies, std::span<const std::size_t> positions)
    : pairs_(frequencies.size()), cosines_(positions.size() * pairs_), sines_(positions.size() * pairs_) {
  constexpr std::size_t kTokensPerTask = 64;
  const auto fill = [&](std::size_t first, std::size_t end) {
    for (std::size_t i = first; i < end; ++i) {
      for (std::size_t j = 0; j < pairs_; ++j) {
        const double angle = static_cast<double>(positions[i]) * frequencies[j];
        cosines_[i * pairs_ + j] = static_cast<float>(std::cos(angle));
        sines_[i * pairs_ + j] = static_cast<float>(std::sin(angle));
      }
    }
  };
  if (positions.size() <= kTokensPerTask) {
    fill(0, positions.size());
    return;
  }
  parallel_for((positions.size() + kTokensPerTask - 1) / kTokensPerTask, [&](std::size_t task) {
    fill(task * kTokensPerTask, std::min(positions.size(), (task + 1) * kTokensPerTask));
  });
}

}  // namespace assay
