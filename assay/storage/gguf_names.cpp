#include "assay/storage/gguf_names.h"

#include <charconv>
#include <iterator>
#include <limits>
#include <utility>

namespace assay {
namespace {

constexpr GgufArchitecture kArchitectures[] = {
    {.name = "llama", .model_type = "llama", .model_class = "LlamaForCausalLM", .interleaved_rows = true},
    {.name = "qwen2", .model_type = "qwen2", .model_class = "Qwen2ForCausalLM"},
    {.name = "qwen3", .model_type = "qwen3", .model_class = "Qwen3ForCausalLM"},
    {.name = "qwen3moe", .model_type = "qwen3_moe", .model_class = "Qwen3MoeForCausalLM", .experts = true},
};

using NamePair = std::pair<std::string_view, std::string_view>;

constexpr NamePair kModelNames[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};

constexpr NamePair kBlockNames[] = {{"attn_norm", "input_layernorm"},
                                    {"attn_q", "self_attn.q_proj"},
                                    {"attn_k", "self_attn.k_proj"},
                                    {"attn_v", "self_attn.v_proj"},
                                    {"attn_output", "self_attn.o_proj"},
                                    {"attn_q_norm", "self_attn.q_norm"},
                                    {"attn_k_norm", "self_attn.k_norm"},
                                    {"ffn_norm", "post_attention_layernorm"},
                                    {"ffn_gate", "mlp.gate_proj"},
                                    {"ffn_up", "mlp.up_proj"},
                                    {"ffn_down", "mlp.down_proj"},
                                    {"ffn_gate_inp", "mlp.gate"},
                                    {"ffn_gate_exps", "mlp.switch_mlp.gate_proj"},
                                    {"ffn_up_exps", "mlp.switch_mlp.up_proj"},
                                    {"ffn_down_exps", "mlp.switch_mlp.down_proj"}};

/// One side of the tables above, and how its names are made: of two such the one becomes the other.
struct Spelling {
  std::string_view NamePair::*name;
  std::string_view block;  // before the number of a layer
};
constexpr Spelling kGguf = {&NamePair::first, "blk."};
constexpr Spelling kHuggingFace = {&NamePair::second, "model.layers."};

template <std::size_t N>
std::optional<std::string> translate(const NamePair (&names)[N], std::string_view module,
                                     const Spelling& from, const Spelling& to) {
  for (const NamePair& pair : names)
    if (pair.*from.name == module) return std::string(pair.*to.name);
  return std::nullopt;
}

/// "blk.3.ffn_up.weight": a module of the model or of a layer below `layers`, and what it has of it.
std::optional<std::string> translate_name(std::string_view name, std::uint64_t layers, const Spelling& from,
                                          const Spelling& to) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view suffix = name.substr(dot);
  if (suffix != ".weight" && suffix != ".bias") return std::nullopt;
  std::string_view module = name.substr(0, dot);

  std::optional<std::string> translated;
  if (module.starts_with(from.block)) {
    module.remove_prefix(from.block.size());
    std::uint64_t layer = 0;
    const auto [end, problem] = std::from_chars(module.data(), module.data() + module.size(), layer);
    const auto digits = static_cast<std::size_t>(end - module.data());
    const bool canonical = problem == std::errc() && (digits == 1 || module.front() != '0');
    if (!canonical || layer >= layers || digits >= module.size() || module[digits] != '.')
      return std::nullopt;
    translated = translate(kBlockNames, module.substr(digits + 1), from, to);
    if (translated) translated = std::string(to.block) + std::to_string(layer) + "." + *translated;
  } else {
    translated = translate(kModelNames, module, from, to);
  }
  if (translated) *translated += suffix;
  return translated;
}

}  // namespace

const GgufArchitecture* find_gguf_architecture(std::string_view name) {
  for (const GgufArchitecture& architecture : kArchitectures)
    if (architecture.name == name) return &architecture;
  return nullptr;
}

const GgufArchitecture* gguf_architecture_of(std::string_view model_type) {
  for (const GgufArchitecture& architecture : kArchitectures)
    if (architecture.model_type == model_type) return &architecture;
  return nullptr;
}

std::string gguf_architecture_names() {
  std::string names;
  const std::size_t count = std::size(kArchitectures);
  for (std::size_t i = 0; i < count; ++i)
    names += (i == 0 ? "" : i + 1 == count ? " and " : ", ") + std::string(kArchitectures[i].name);
  return names;
}

std::optional<std::string> huggingface_name(std::string_view gguf_name, std::uint64_t layers) {
  return translate_name(gguf_name, layers, kGguf, kHuggingFace);
}

std::optional<std::string> gguf_name(std::string_view huggingface_name) {
  return translate_name(huggingface_name, std::numeric_limits<std::uint64_t>::max(), kHuggingFace, kGguf);
}

}  // namespace assay
