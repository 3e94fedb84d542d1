#pragma once
// Rotary position embedding, half-split: dimension j of a head turns with dimension j + d/2
// (docs/formats.md, "RoPE").
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "assay/model/config.h"

namespace assay {

/// Angular frequency of each pair, head_dim / 2 of them, Llama-3 scaling applied; in f64.
std::vector<double> rope_frequencies(int head_dim, double theta, const std::optional<RopeScaling>& scaling);

/// Cosines and sines of a list of positions, [positions, head_dim / 2] each. Angles are taken in f64: an f32
/// angle is off by 1e-3 at position 16384.
class RopeAngles {
 public:
  RopeAngles() = default;
  RopeAngles(std::span<const double> frequencies, std::span<const std::size_t> positions);

  /// Rotates one head of head_dim values by the angles of positions[index].
  void rotate(std::size_t index, float* head) const {
    const float* cosine = cosines_.data() + index * pairs_;
    const float* sine = sines_.data() + index * pairs_;
    for (std::size_t j = 0; j < pairs_; ++j) {
      const float low = head[j], high = head[j + pairs_];
      head[j] = low * cosine[j] - high * sine[j];
      head[j + pairs_] = low * sine[j] + high * cosine[j];
    }
  }

 private:
  std::size_t pairs_ = 0;
  std::vector<float> cosines_, sines_;
};

}  // namespace assay
