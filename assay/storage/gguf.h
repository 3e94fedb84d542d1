#pragma once
// GGUF, read only: version 3, little-endian, plain floats, blocks and superblocks, of the architectures in
// gguf_names.cpp. Layout: docs/formats.md, "GGUF files"; origin: ggml-org/llama.cpp. The file's metadata is
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
