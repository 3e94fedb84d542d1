#pragma once
// llama.cpp's names and Hugging Face's: architectures and tensors. A new architecture is one row.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace assay {

struct GgufArchitecture {
  std::string_view name;          // general.architecture
  std::string_view model_type;    // of config.json
  std::string_view model_class;   // in "architectures" of config.json
  bool interleaved_rows = false;  // of q and k: the two halves of each head (StoredLayout::heads)
  bool experts = false;           // in every block, the weights of those chosen divided by their sum
};
/// Null: not read.
const GgufArchitecture* find_gguf_architecture(std::string_view name);
/// Null: not written.
const GgufArchitecture* gguf_architecture_of(std::string_view model_type);
/// "llama, qwen2 and qwen3", for messages.
std::string gguf_architecture_names();

/// "blk.3.ffn_up.weight" is "model.layers.3.mlp.up_proj.weight"; nothing for a name that is not known, or
/// whose layer is not below `layers`.
std::optional<std::string> huggingface_name(std::string_view gguf_name, std::uint64_t layers);
/// The other way, for a layer of any number. The experts of a layer are those of mlx-lm's stacks.
std::optional<std::string> gguf_name(std::string_view huggingface_name);

}  // namespace assay
