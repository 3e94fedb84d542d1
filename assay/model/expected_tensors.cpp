// Names and shapes of the tensors of each architecture (docs/formats.md, "Tensor names"), told one by one:
// what a config asks for may be millions, whatever the file beside it holds.
#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "assay/base/error.h"
#include "assay/model/completeness.h"
#include "assay/model/config_spellings.h"
#include "assay/model/roles.h"

namespace assay {

namespace {

constexpr int kMaxSize = 1 << 24;
constexpr std::string_view kEmbedding = "embed_tokens.weight";

/// Reads sizes and tells tensors. Lenient on purpose: a model that cannot be run can still be inspected.
class TensorList {
 public:
  TensorList(const Json& config, std::string prefix, const TellTensor& tell, const Checkpoint* stored)
      : config_(config), prefix_(std::move(prefix)), tell_(tell), stored_(stored) {
    const auto dense = config_.find("mlp_only_layers");
    if (dense != config_.end() && dense->is_array())
      for (const Json& layer : *dense)
        if (layer.is_number_integer() && layer >= 0) dense_layers_.insert(layer.get<std::uint64_t>());
  }

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
  bool always_dense(std::uint64_t layer) const { return dense_layers_.contains(layer); }

  void enter_layer(std::uint64_t layer) { layer_ = fmt::format("{}layers.{}.", prefix_, layer); }
  void add_global(std::string_view name, Shape shape) { tell(prefix_ + std::string(name), std::move(shape)); }
  void add(std::string_view name, Shape shape) { tell(layer_ + std::string(name), std::move(shape)); }
  void tell(std::string name, Shape shape) { done_ = done_ || !tell_({std::move(name), std::move(shape)}); }
  bool done() const { return done_; }

  /// The tensor of this name in the layer, as it is stored; null without a checkpoint, or when it is not
  /// there.
  const Tensor* stored(std::string_view name) const { return stored_whole(layer_ + std::string(name)); }
  const Tensor* stored_whole(std::string_view name) const {
    return stored_ == nullptr ? nullptr : stored_->find(name);
  }

 private:
  const Json& config_;
  std::string prefix_, layer_;
  const TellTensor& tell_;
  const Checkpoint* stored_;
  std::set<std::uint64_t> dense_layers_;
  bool done_ = false;
};

struct AttentionTensors {
  bool gated_query = false, head_norms = false;
};

void add_attention(TensorList& list, const AttentionTensors& kind) {
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

struct DeltaNetTensors {
  bool fused_projections = false;  // Qwen3-Next; Qwen3.5 stores them apart
  bool mlx_names = false;
};

void add_delta_net(TensorList& list, const DeltaNetTensors& kind) {
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
  const Shape plain{channels, 1, kernel}, turned{channels, kernel, 1};  // as mlx-lm has it
  const Tensor* convolution = list.stored("linear_attn.conv1d.weight");
  const bool as_mlx = convolution != nullptr ? convolution->shape == turned : kind.mlx_names;
  list.add("linear_attn.conv1d.weight", as_mlx ? turned : plain);
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

/// As they are stored, in the order in which the loader looks for them; else as the config has it.
ExpertNames expert_names(const TensorList& list, ExpertNames by_config) {
  if (list.stored("mlp.experts.gate_up_proj") != nullptr) return ExpertNames::fused;
  if (list.stored("mlp.switch_mlp.gate_proj.weight") != nullptr) return ExpertNames::stacked;
  if (list.stored("mlp.experts.0.gate_proj.weight") != nullptr) return ExpertNames::apart;
  return by_config;
}

/// 0 for a model without: Qwen3-Next says so with a number.
std::uint64_t expert_count(const TensorList& list) {
  const Json* count = find_expert_count(list.config());
  if (count == nullptr || *count == 0) return 0;
  return list.size(count == find_value(list.config(), "num_experts") ? "num_experts" : "num_local_experts");
}

void add_experts(TensorList& list, ExpertNames names) {
  const std::uint64_t hidden = list.size("hidden_size"), intermediate = list.size("moe_intermediate_size");
  const std::uint64_t experts = expert_count(list);
  list.add("mlp.gate.weight", {experts, hidden});
  if (names == ExpertNames::fused) {
    list.add("mlp.experts.gate_up_proj", {experts, 2 * intermediate, hidden});
    list.add("mlp.experts.down_proj", {experts, hidden, intermediate});
  } else if (names == ExpertNames::stacked) {
    list.add("mlp.switch_mlp.gate_proj.weight", {experts, intermediate, hidden});
    list.add("mlp.switch_mlp.up_proj.weight", {experts, intermediate, hidden});
    list.add("mlp.switch_mlp.down_proj.weight", {experts, hidden, intermediate});
  } else {
    for (std::uint64_t e = 0; e < experts && !list.done(); ++e)
      add_mlp(list, fmt::format("mlp.experts.{}", e), intermediate);
  }
  if (list.has("shared_expert_intermediate_size")) {
    add_mlp(list, "mlp.shared_expert", list.size("shared_expert_intermediate_size"));
    list.add("mlp.shared_expert_gate.weight", {1, hidden});
  }
}

/// Does layer n hold a mixture (Qwen3-MoE's rule), or a dense MLP?
bool is_mixture_layer(const TensorList& list, std::uint64_t layer) {
  if (list.always_dense(layer)) return false;
  return (layer + 1) % list.size_or("decoder_sparse_step", 1) == 0;
}

bool is_full_attention_layer(const TensorList& list, std::uint64_t layer) {
  const auto types = list.config().find("layer_types");
  if (types != list.config().end() && types->is_array())
    return layer < types->size() && (*types)[layer] == "full_attention";
  return (layer + 1) % list.size_or("full_attention_interval", 4) == 0;
}

/// What stands before "embed_tokens.weight" in the checkpoint; nothing when it has no embedding.
std::optional<std::string> stored_prefix(const Checkpoint* stored) {
  if (stored == nullptr) return std::nullopt;
  for (const Tensor& tensor : stored->tensors)
    if (classify_tensor(tensor.name) == Role::embedding)
      return tensor.name.substr(0, tensor.name.size() - kEmbedding.size());
  return std::nullopt;
}

/// Multimodal checkpoints keep the head under one of the prefixes, all others at the top.
std::string head_name(const TensorList& list, bool under_language_model) {
  for (const char* prefix :
       {"", "language_model.", "model.language_model.", "language_model.model.", "model."})
    if (std::string name = prefix + std::string("lm_head.weight"); list.stored_whole(name) != nullptr)
      return name;
  return under_language_model ? "language_model.lm_head.weight" : "lm_head.weight";
}

}  // namespace

bool tell_expected_tensors(const Json& config, const TellTensor& tell, const Checkpoint* stored) {
  if (!config.is_object()) return false;
  const Json& text = text_config(config);
  const auto type = json_get_or<std::string>(text, "model_type", "", "config.json");
  const bool dense = type == "llama" || type == "qwen3";
  const bool moe = type == "qwen3_moe", next = type == "qwen3_next";
  const bool dense_hybrid = type == "qwen3_5_text" || type == "qwen3_5";
  const bool fused_hybrid = type == "qwen3_5_moe_text" || type == "qwen3_5_moe";
  const bool hybrid = next || dense_hybrid || fused_hybrid;
  if (!dense && !moe && !hybrid) return false;

  // mlx-lm stacks the experts of a layer; it marks its folders with "quantization".
  const bool mlx_names = config.contains("quantization");
  const bool under_language_model = mlx_names && (dense_hybrid || fused_hybrid);
  const std::string by_config = under_language_model ? "language_model.model."
                                : &text == &config   ? "model."
                                                     : "model.language_model.";
  TensorList list(text, stored_prefix(stored).value_or(by_config), tell, stored);
  const std::uint64_t hidden = list.size("hidden_size"), vocabulary = list.size("vocab_size");
  const std::uint64_t layers = list.size("num_hidden_layers");
  if (layers > 4096) fail("config.json: num_hidden_layers is {}, expected 1..4096", layers);

  list.add_global(kEmbedding, {vocabulary, hidden});
  for (std::uint64_t layer = 0; layer < layers && !list.done(); ++layer) {
    list.enter_layer(layer);
    list.add("input_layernorm.weight", {hidden});
    if (hybrid && !is_full_attention_layer(list, layer))
      add_delta_net(list, {.fused_projections = next, .mlx_names = mlx_names});
    else
      add_attention(list, {.gated_query = hybrid, .head_norms = type != "llama"});
    list.add("post_attention_layernorm.weight", {hidden});
    if ((moe || next || fused_hybrid) && expert_count(list) > 0 && is_mixture_layer(list, layer)) {
      add_experts(list, expert_names(list, mlx_names      ? ExpertNames::stacked
                                           : fused_hybrid ? ExpertNames::fused
                                                          : ExpertNames::apart));
    } else {
      add_mlp(list, "mlp", list.size("intermediate_size"));
      if (list.flag("mlp_bias", false)) add_mlp_bias(list, list.size("intermediate_size"));
    }
  }
  list.add_global("norm.weight", {hidden});
  const bool nested_tie = list.flag("tie_word_embeddings", false);
  if (!json_get_or<bool>(config, "tie_word_embeddings", nested_tie, "config.json"))
    list.tell(head_name(list, under_language_model), {vocabulary, hidden});
  return true;
}

std::optional<std::vector<ExpectedTensor>> expected_tensors(const Json& config, std::size_t most) {
  std::vector<ExpectedTensor> tensors;
  const auto keep = [&](ExpectedTensor tensor) {
    tensors.push_back(std::move(tensor));
    return tensors.size() < most;
  };
  if (!tell_expected_tensors(config, keep)) return std::nullopt;
  return tensors;
}

std::optional<std::vector<ExpectedTensor>> expected_tensors(const Json& config) {
  return expected_tensors(config, std::numeric_limits<std::size_t>::max());
}

}  // namespace assay
