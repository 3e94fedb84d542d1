#pragma once
// The forward pass of a model of dense MLPs (Llama, Qwen3, Qwen3.5) in f64, straight from its definition:
// what the gate of a rotation computes with. Slow, of few tokens, and with no code of the fast one but its
// RoPE frequencies.
#include <cstdint>
#include <span>
#include <vector>

#include "assay/storage/checkpoint.h"

namespace assay {

/// Feature by feature: [features, tokens].
struct Float64Forward {
  std::vector<std::vector<double>> residual;  // after the embedding, then after every block
  std::vector<double> logits;
};

/// One sequence from position 0; token ids must be of the vocabulary. Weights are read as stored, in blocks
/// of rows. Throws Error: as parse_model_config, a missing tensor, a wrong shape.
Float64Forward forward_float64(const Checkpoint& checkpoint, std::span<const std::int32_t> tokens);

}  // namespace assay
