// Qwen3: norms of the heads before RoPE.
#include "assay/model/families/family.h"

namespace assay::families {

extern constinit const Family qwen3 = {
    .model_type = "qwen3",
    .query_key_norm = true,
};

}  // namespace assay::families
