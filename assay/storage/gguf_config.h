#pragma once
// The architecture part of a GGUF file's metadata as a Hugging Face config.json.
#include <string>

#include "assay/base/json.h"
#include "assay/storage/gguf_metadata.h"
#include "assay/storage/gguf_names.h"

namespace assay {

/// That of the file. One that is not in the table, an adapter or one part of a split file is an Error that
/// names it.
const GgufArchitecture& gguf_architecture(GgufMetadata& metadata);

/// config.json of the file: sizes from the metadata, vocabulary, tied head and biases from the tensors. RoPE
/// scaling other than Llama 3's, partial rotary embeddings and experts are Errors.
Json gguf_config(const GgufFile& file, GgufMetadata& metadata);

/// The tensor that holds Llama 3's RoPE factors: it becomes part of the config.
inline constexpr std::string_view kGgufRopeFactors = "rope_freqs.weight";

}  // namespace assay
