#include "assay/storage/gguf_names.h"

#include <charconv>
#include <iterator>
#include <utility>

namespace assay {
namespace {

constexpr GgufArchitecture kArchitectures[] = {
    {.name = "llama", .model_class = "LlamaForCausalLM", .interleaved_rows = true},
    {.name = "qwen2", .model_class = "Qwen2ForCausalLM"},
    {.name = "qwen3", .model_class = "Qwen3ForCausalLM"},
};

using NamePair = std::pair<std::string_view, std::string_view>;

constexpr NamePair kModelNames[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};

constexpr NamePair kBlockNames[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"}};

template <std::size_t N>
std::optional<std::string> translate(const NamePair (&names)[N], std::string_view module) {
  for (const auto& [gguf, huggingface] : names)
    if (gguf == module) return std::string(huggingface);
  return std::nullopt;
}

}  // namespace

const GgufArchitecture* find_gguf_architecture(std::string_view name) {
  for (const GgufArchitecture& architecture : kArchitectures)
    if (architecture.name == name) return &architecture;
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
  const std::size_t dot = gguf_name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view suffix = gguf_name.substr(dot);
  if (suffix != ".weight" && suffix != ".bias") return std::nullopt;
  std::string_view module = gguf_name.substr(0, dot);

  constexpr std::string_view kBlock = "blk.";
  std::optional<std::string> translated;
  if (module.starts_with(kBlock)) {
    module.remove_prefix(kBlock.size());
    std::uint64_t layer = 0;
    const auto [end, problem] = std::from_chars(module.data(), module.data() + module.size(), layer);
    const auto digits = static_cast<std::size_t>(end - module.data());
    const bool canonical = problem == std::errc() && (digits == 1 || module.front() != '0');
    if (!canonical || layer >= layers || digits >= module.size() || module[digits] != '.')
      return std::nullopt;
    translated = translate(kBlockNames, module.substr(digits + 1));
    if (translated) translated = "model.layers." + std::to_string(layer) + "." + *translated;
  } else {
    translated = translate(kModelNames, module);
  }
  if (translated) *translated += suffix;
  return translated;
}

}  // namespace assay
