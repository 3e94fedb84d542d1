// Qwen3.5: the text model of a multimodal one, delta nets between layers of gated attention.
#include "assay/model/families/family.h"

namespace assay::families {

extern constinit const Family qwen3_5 = {
    .model_type = "qwen3_5_text",
    .composite_type = "qwen3_5",
    .mlx_prefix = "language_model.",
    .rotary_factor = 0.25,
    .query_key_norm = true,
    .gated_query = true,
    .shifted_norms = true,
    .delta_net = DeltaNetTraits{},
};

}  // namespace assay::families
