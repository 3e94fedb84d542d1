#pragma once
// Directories as Hugging Face transformers writes them: config.json, tokenizer files, safetensors in plain
// floats.
#include <string>

#include "assay/storage/containers.h"
#include "assay/storage/safetensors.h"

namespace assay {

extern const ContainerRow kHuggingFaceContainer;

/// The checkpoint of a directory whose arrays are plain: each is a tensor of its own. Refuses a directory
/// quantised by some other scheme ("quantization_config" with "quant_method").
CheckpointPtr open_huggingface(const std::string& directory, SafetensorsDirectory weights, Sidecars sidecars,
                               Json config);

/// Throws Error when the configuration says that the weights are in a scheme Assay does not read (FP8, GPTQ,
/// AWQ...).
void refuse_foreign_quantization(const Json& config, const std::string& directory);

}  // namespace assay
