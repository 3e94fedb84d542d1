// Qwen3 with experts. transformers maps its num_experts onto num_local_experts.
#include "assay/model/families/family.h"

namespace assay::families {

extern constinit const Family qwen3_moe = {
    .model_type = "qwen3_moe",
    .query_key_norm = true,
    .mixture = MixtureTraits{.local_count_first = true},
};

}  // namespace assay::families
