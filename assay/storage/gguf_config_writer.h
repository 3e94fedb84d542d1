#pragma once
// The inverse of gguf_config.h: a config.json that leaves nothing out (model/config.h, config_json) as the
// architecture's part of a GGUF file's metadata.
#include <optional>
#include <vector>

#include "assay/base/json.h"
#include "assay/storage/gguf_header.h"
#include "assay/storage/gguf_names.h"

namespace assay {

/// Of config.json's model_type. Throws Error for one that is not in the table.
const GgufArchitecture& gguf_architecture_for(const Json& config, const std::string& path);

/// Sets general.architecture and the architecture's own keys. Throws Error for what they cannot say: RoPE
/// scaling other than Llama 3's with its usual constants, experts in some blocks only, a number that is no
/// 32-bit float.
void write_gguf_config(const Json& config, GgufHeader& header);

/// The content of the tensor kGgufRopeFactors; nothing where RoPE is not scaled.
std::optional<std::vector<float>> gguf_rope_factors(const Json& config, const std::string& path);

}  // namespace assay
