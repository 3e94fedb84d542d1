#pragma once
// Directories as Hugging Face transformers writes them: config.json, tokenizer files, safetensors in plain
// floats or in the scheme of another toolkit.
#include <string>

#include "assay/storage/containers.h"
#include "assay/storage/safetensors.h"

namespace assay {

extern const ContainerRow kHuggingFaceContainer;

/// The checkpoint of a directory whose arrays are plain, each a tensor of its own, or packed by a scheme that
/// "quantization_config" names (huggingface_quantised.h). Refuses schemes that are not read.
CheckpointPtr open_huggingface(const std::string& directory, SafetensorsDirectory weights, Sidecars sidecars,
                               Json config);

/// Throws Error when the configuration names another toolkit's scheme, for folders that cannot be in one.
void refuse_foreign_quantization(const Json& config, const std::string& directory);

}  // namespace assay
