// Qwen3.5 with experts, which its own folders keep fused. It has no norm_topk_prob and always divides.
#include "assay/model/families/family.h"

namespace assay::families {

extern constinit const Family qwen3_5_moe = {
    .model_type = "qwen3_5_moe_text",
    .composite_type = "qwen3_5_moe",
    .mlx_prefix = "language_model.",
    .rotary_factor = 0.25,
    .query_key_norm = true,
    .gated_query = true,
    .shifted_norms = true,
    .mixture =
        MixtureTraits{
            .shared_expert = true, .sum = ExpertSum::always_divided, .storage = ExpertStorage::fused},
    .delta_net = DeltaNetTraits{},
};

}  // namespace assay::families
