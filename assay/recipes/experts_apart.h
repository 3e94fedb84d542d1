#pragma once
// A checkpoint seen with every expert in tensors of its own, as Qwen3-MoE names them, whether it stores them
// so, fused (gate and up in one) or stacked. Views of the same bytes.
#include "assay/storage/checkpoint.h"

namespace assay {

/// Throws Error for a checkpoint without experts.
CheckpointPtr with_experts_apart(const CheckpointPtr& checkpoint);

/// "model.layers.0.mlp.experts.5" of a tensor of that expert; empty for all others.
std::string expert_record(const std::string& tensor);

}  // namespace assay
