#pragma once
// A checkpoint as mlx-lm names and shapes it, whatever container it lies in: the experts of a layer stacked
// (`switch_mlp`), fused ones split, convolutions turned, the 1 of shifted norms added, Qwen3.5 under
// `language_model.`, parts that mlx-lm drops left out. Weights keep their formats; only norms are computed.
#include <string>
#include <vector>

#include "assay/storage/checkpoint.h"

namespace assay {

struct MlxConventions {
  CheckpointPtr checkpoint;        // views of the source's tensors
  std::vector<std::string> notes;  // what a user must see: rounded norms, parts left out
};

/// `exact`: norms in f32, which holds 1 + w; else in their stored type, as mlx-lm's converter rounds them. A
/// checkpoint that follows the conventions already comes back as it is. Throws Error: experts of one layer
/// that cannot be stacked (missing, of different formats or shapes).
MlxConventions with_mlx_conventions(const CheckpointPtr& source, bool exact);

}  // namespace assay
