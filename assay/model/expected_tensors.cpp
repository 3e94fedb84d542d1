// Names and shapes of the tensors of each architecture (FORMATS.md sections 4 and 7).
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "assay/base/error.h"
#include "assay/model/roles.h"

namespace assay {

namespace {

constexpr int kMaxSize = 1 << 24;
constexpr std::uint64_t kMaxExpertTensors = 1
                                            << 20;  // over all layers: a hostile config must not fill memory

/// Reads sizes and collects tensors. Lenient on purpose: a model that cannot be run can still be inspected.
class TensorList {
 public:
  TensorList(const Json& config, std::string prefix) : config_(config), prefix_(std::move(prefix)) {}

  std::uint64_t size(const char* key) const {
    const int value = json_get<int>(config_, key, "config.json");
    if (value < 1 || value > kMaxSize) fail("config.json: {} is {}, expected 1..{}", key, value, kMaxSize);
    return static_cast<std::uint64_t>(value);
  }
  std::uint64_t size_or(const char* key, std::uint64_t fallback) const {
    return has(key) ? size(key) : fallback;
  }
  bool has(const char* key) const {
    const auto found = config_.find(key);
    return found != config_.end() && !found->is_null();
  }
  bool flag(const char* key, bool fallback) const {
    return json_get_or<bool>(config_, key, fallback, "config.json");
  }
  const Json& config() const { return config_; }

  void enter_layer(std::uint64_t layer) { layer_ = fmt::format("{}layers.{}.", prefix_, layer); }
  void add_global(std::string_view name, Shape shape) {
    tensors_.push_back({prefix_ + std::string(name), std::move(shape)});
  }
  void add_head(std::string name, Shape shape) { tensors_.push_back({std::move(name), std::move(shape)}); }
  void add(std::string_view name, Shape shape) {
    tensors_.push_back({layer_ + std::string(name), std::move(shape)});
  }
  std::vector<ExpectedTensor> take() { return std::move(tensors_); }

 private:
  const Json& config_;
  std::string prefix_, layer_;
  std::vector<ExpectedTensor> tensors_;
};

struct Attention {
  bool gated_query = false, head_norms = false;
};

void add_attention(TensorList& list, const Attention& kind) {
  const std::uint64_t hidden = list.size("hidden_size"), heads = list.size("num_attention_heads");
  const std::uint64_t kv_heads = list.size_or("num_key_value_heads", heads);
  const std::uint64_t dim = list.size_or("head_dim", hidden / heads);
  const std::uint64_t query_rows = heads * dim * (kind.gated_query ? 2 : 1);
  list.add("self_attn.q_proj.weight", {query_rows, hidden});
  list.add("self_attn.k_proj.weight", {kv_heads * dim, hidden});
  list.add("self_attn.v_proj.weight", {kv_heads * dim, hidden});
  list.add("self_attn.o_proj.weight", {hidden, heads * dim});
  if (list.flag("attention_bias", false)) {
    list.add("self_attn.q_proj.bias", {query_rows});
    list.add("self_attn.k_proj.bias", {kv_heads * dim});
    list.add("self_attn.v_proj.bias", {kv_heads * dim});
    list.add("self_attn.o_proj.bias", {hidden});
  }
  if (kind.head_norms) {
    list.add("self_attn.q_norm.weight", {dim});
    list.add("self_attn.k_norm.weight", {dim});
  }
}

struct DeltaNet {
  bool fused_projections = false;  // Qwen3-Next; Qwen3.5 stores them apart
  bool mlx_names = false;
};

void add_delta_net(TensorList& list, const DeltaNet& kind) {
  const std::uint64_t hidden = list.size("hidden_size");
  const std::uint64_t key_heads = list.size("linear_num_key_heads"),
                      value_heads = list.size("linear_num_value_heads");
  const std::uint64_t keys = key_heads * list.size("linear_key_head_dim");
  const std::uint64_t value_dim = list.size("linear_value_head_dim"), values = value_heads * value_dim;
  const std::uint64_t kernel = list.size("linear_conv_kernel_dim"), channels = 2 * keys + values;
  if (kind.fused_projections) {
    list.add("linear_attn.in_proj_qkvz.weight", {channels + values, hidden});
    list.add("linear_attn.in_proj_ba.weight", {2 * value_heads, hidden});
  } else {
    list.add("linear_attn.in_proj_qkv.weight", {channels, hidden});
    list.add("linear_attn.in_proj_z.weight", {values, hidden});
    list.add("linear_attn.in_proj_b.weight", {value_heads, hidden});
    list.add("linear_attn.in_proj_a.weight", {value_heads, hidden});
  }
  list.add("linear_attn.conv1d.weight",
           kind.mlx_names ? Shape{channels, kernel, 1} : Shape{channels, 1, kernel});
  list.add("linear_attn.A_log", {value_heads});
  list.add("linear_attn.dt_bias", {value_heads});
  list.add("linear_attn.norm.weight", {value_dim});
  list.add("linear_attn.out_proj.weight", {hidden, values});
}

void add_mlp(TensorList& list, const std::string& module, std::uint64_t intermediate) {
  const std::uint64_t hidden = list.size("hidden_size");
  list.add(module + ".gate_proj.weight", {intermediate, hidden});
  list.add(module + ".up_proj.weight", {intermediate, hidden});
  list.add(module + ".down_proj.weight", {hidden, intermediate});
}

void add_mlp_bias(TensorList& list, std::uint64_t intermediate) {
  list.add("mlp.gate_proj.bias", {intermediate});
  list.add("mlp.up_proj.bias", {intermediate});
  list.add("mlp.down_proj.bias", {list.size("hidden_size")});
}

enum class ExpertNames { apart, fused, stacked };  // as each container of the family has them

/// 0 for a model without: Qwen3-Next says so with a number.
std::uint64_t expert_count(const TensorList& list) {
  for (const char* key : {"num_experts", "num_local_experts"})
    if (list.has(key)) return list.config()[key] == 0 ? 0 : list.size(key);
  return 0;
}

void add_experts(TensorList& list, ExpertNames names) {
  const std::uint64_t hidden = list.size("hidden_size"), intermediate = list.size("moe_intermediate_size");
  const std::uint64_t experts = expert_count(list);
  if (experts * list.size("num_hidden_layers") > kMaxExpertTensors)
    fail("config.json: {} experts in every layer are more than Assay reads", experts);
  list.add("mlp.gate.weight", {experts, hidden});
  if (names == ExpertNames::fused) {
    list.add("mlp.experts.gate_up_proj", {experts, 2 * intermediate, hidden});
    list.add("mlp.experts.down_proj", {experts, hidden, intermediate});
  } else if (names == ExpertNames::stacked) {
    list.add("mlp.switch_mlp.gate_proj.weight", {experts, intermediate, hidden});
    list.add("mlp.switch_mlp.up_proj.weight", {experts, intermediate, hidden});
    list.add("mlp.switch_mlp.down_proj.weight", {experts, hidden, intermediate});
  } else {
    for (std::uint64_t e = 0; e < experts; ++e) add_mlp(list, fmt::format("mlp.experts.{}", e), intermediate);
  }
  if (list.has("shared_expert_intermediate_size")) {
    add_mlp(list, "mlp.shared_expert", list.size("shared_expert_intermediate_size"));
    list.add("mlp.shared_expert_gate.weight", {1, hidden});
  }
}

/// Does layer n hold a mixture (Qwen3-MoE's rule), or a dense MLP?
bool is_mixture_layer(const TensorList& list, std::uint64_t layer) {
  const auto dense = list.config().find("mlp_only_layers");
  if (dense != list.config().end() && dense->is_array() &&
      std::find(dense->begin(), dense->end(), layer) != dense->end())
    return false;
  return (layer + 1) % list.size_or("decoder_sparse_step", 1) == 0;
}

bool is_full_attention_layer(const TensorList& list, std::uint64_t layer) {
  const auto types = list.config().find("layer_types");
  if (types != list.config().end() && types->is_array())
    return layer < types->size() && (*types)[layer] == "full_attention";
  return (layer + 1) % list.size_or("full_attention_interval", 4) == 0;
}

}  // namespace

std::optional<std::vector<ExpectedTensor>> expected_tensors(const Json& config) {
  if (!config.is_object()) return std::nullopt;
  const Json& text = text_config(config);
  const auto type = json_get_or<std::string>(text, "model_type", "", "config.json");
  const bool dense = type == "llama" || type == "qwen3";
  const bool moe = type == "qwen3_moe", next = type == "qwen3_next";
  const bool dense_hybrid = type == "qwen3_5_text" || type == "qwen3_5";
  const bool fused_hybrid = type == "qwen3_5_moe_text" || type == "qwen3_5_moe";
  const bool hybrid = next || dense_hybrid || fused_hybrid;
  if (!dense && !moe && !hybrid) return std::nullopt;

  // mlx-lm stacks the experts of a layer; it marks its folders with "quantization".
  const bool mlx_names = config.contains("quantization");
  const bool under_language_model = mlx_names && (dense_hybrid || fused_hybrid);
  TensorList list(text, under_language_model ? "language_model.model."
                        : &text == &config   ? "model."
                                             : "model.language_model.");
  const std::uint64_t hidden = list.size("hidden_size"), vocabulary = list.size("vocab_size");
  const std::uint64_t layers = list.size("num_hidden_layers");
  if (layers > 4096) fail("config.json: num_hidden_layers is {}, expected 1..4096", layers);

  list.add_global("embed_tokens.weight", {vocabulary, hidden});
  for (std::uint64_t layer = 0; layer < layers; ++layer) {
    list.enter_layer(layer);
    list.add("input_layernorm.weight", {hidden});
    if (hybrid && !is_full_attention_layer(list, layer))
      add_delta_net(list, {.fused_projections = next, .mlx_names = mlx_names});
    else
      add_attention(list, {.gated_query = hybrid, .head_norms = type != "llama"});
    list.add("post_attention_layernorm.weight", {hidden});
    if ((moe || next || fused_hybrid) && expert_count(list) > 0 && is_mixture_layer(list, layer)) {
      add_experts(list, mlx_names      ? ExpertNames::stacked
                        : fused_hybrid ? ExpertNames::fused
                                       : ExpertNames::apart);
    } else {
      add_mlp(list, "mlp", list.size("intermediate_size"));
      if (list.flag("mlp_bias", false)) add_mlp_bias(list, list.size("intermediate_size"));
    }
  }
  list.add_global("norm.weight", {hidden});
  const bool nested_tie = list.flag("tie_word_embeddings", false);
  if (!json_get_or<bool>(config, "tie_word_embeddings", nested_tie, "config.json"))
    list.add_head(under_language_model ? "language_model.lm_head.weight" : "lm_head.weight",
                  {vocabulary, hidden});
  return list.take();
}

CheckpointPtr open_model(const std::string& path, const std::string& config_directory) {
  return open_checkpoint(path, {.architecture = expected_tensors, .config_directory = config_directory});
}

}  // namespace assay
