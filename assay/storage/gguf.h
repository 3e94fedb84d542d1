#pragma once
// GGUF, read only: version 3, little-endian, tensors F32, F16, BF16, Q8_0, Q4_0, Q4_1 of the architectures
// llama and qwen3. Layout: FORMATS.md 2.9 and 3.6; origin: ggml-org/llama.cpp. The file's metadata is
// presented as the small files of a Hugging Face folder: config.json, generation_config.json, tokenizer.json
// or tokenizer.model, tokenizer_config.json. Whatever would change the model and is not understood is an
// Error that names it.
#include <memory>
#include <string>

#include "assay/base/bytes.h"
#include "assay/storage/containers.h"

namespace assay {

extern const ContainerRow kGgufContainer;

/// Opens a GGUF file (mapped, lazy). Throws Error.
CheckpointPtr open_gguf(const std::string& path, const OpenOptions& options = {});

/// The same from bytes in memory; `path` names them in messages, `owner` keeps them alive.
CheckpointPtr read_gguf(Bytes bytes, const std::string& path, const std::shared_ptr<const void>& owner,
                        const OpenOptions& options = {});

}  // namespace assay
