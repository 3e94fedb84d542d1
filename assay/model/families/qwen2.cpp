// Qwen2 and Qwen2.5: Llama's blocks with biases on q, k and v and none on o, whatever the config says of
// biases. Its configs carry a sliding_window that use_sliding_window = false switches off.
#include "assay/model/families/family.h"

namespace assay::families {

extern constinit const Family qwen2 = {
    .model_type = "qwen2",
    .attention_biases = [](const Json&, const std::string&) { return AttentionBiases{.inputs = true}; },
};

}  // namespace assay::families
