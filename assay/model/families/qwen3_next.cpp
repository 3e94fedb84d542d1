// Qwen3-Next: delta nets between layers of gated attention, a shared expert beside those that are chosen.
#include "assay/model/families/family.h"

namespace assay::families {

extern constinit const Family qwen3_next = {
    .model_type = "qwen3_next",
    .rotary_factor = 0.25,
    .query_key_norm = true,
    .gated_query = true,
    .shifted_norms = true,
    .mixture = MixtureTraits{.shared_expert = true, .sum = ExpertSum::divided},
    .delta_net = DeltaNetTraits{.fused_projections = true},
};

}  // namespace assay::families
