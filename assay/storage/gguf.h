#pragma once
// GGUF files: version 3, little-endian, plain floats, blocks and superblocks, of the architectures in
// gguf_names.cpp. Layout: docs/formats.md, "GGUF files"; origin: ggml-org/llama.cpp. The file's metadata is
// presented as the small files of a Hugging Face folder: config.json, generation_config.json, tokenizer.json
// or tokenizer.model, tokenizer_config.json. Whatever would change the model and is not understood is an
// Error that names it. Written is the inverse, so that llama.cpp opens it: the config and the tokenizer's
// files as metadata, or an Error that names what GGUF cannot say.
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

/// Why GGUF cannot hold a tensor so: its name, its format, its rank, or a vector that is not f32.
std::optional<std::string> gguf_misfit(const PlannedTensor& tensor);

/// Writes kGgufFile into the directory. `input.config` leaves nothing out (model/config.h, config_json). The
/// metadata is complete before the first tensor arrives. Throws Error.
std::unique_ptr<CheckpointWriter> make_gguf_writer(const std::filesystem::path& directory, WriterInput input);

inline constexpr const char* kGgufFile = "model.gguf";

}  // namespace assay
