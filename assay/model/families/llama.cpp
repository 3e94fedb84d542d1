// Llama 1 to 3, and what took over its config. The first ones carry no rope_theta.
#include "assay/model/families/family.h"

namespace assay::families {

extern constinit const Family llama = {
    .model_type = "llama",
    .theta_has_default = true,
    .windows_by_default = true,
    .mlp_biases = true,
};

}  // namespace assay::families
