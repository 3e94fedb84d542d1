#pragma once
// llama.cpp's tensor names and Hugging Face's, for the architectures llama and qwen3.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace assay {

/// "blk.3.ffn_up.weight" is "model.layers.3.mlp.up_proj.weight"; nothing for a name that is not known, or
/// whose layer is not below `layers`.
std::optional<std::string> huggingface_name(std::string_view gguf_name, std::uint64_t layers);

}  // namespace assay
