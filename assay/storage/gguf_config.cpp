#include "assay/storage/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <vector>

#include "assay/base/error.h"

namespace assay {
namespace {

const GgufTensor* find_tensor(const GgufFile& file, std::string_view name) {
  const auto found = std::find_if(file.tensors.begin(), file.tensors.end(),
                                  [&](const GgufTensor& tensor) { return tensor.name == name; });
  return found == file.tensors.end() ? nullptr : &*found;
}

/// What a frequency is divided by: the whole factor for long waves, 1 for short ones, a blend between.
double llama3_divisor(double factor, double frequency) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength > kLlama3OriginalLength / kLlama3LowFrequencyFactor) return factor;
  if (wavelength < kLlama3OriginalLength / kLlama3HighFrequencyFactor) return 1;
  const double blend = (kLlama3OriginalLength / wavelength - kLlama3LowFrequencyFactor) /
                       (kLlama3HighFrequencyFactor - kLlama3LowFrequencyFactor);
  return 1 / ((1 - blend) / factor + blend);
}

/// GGUF stores the divisors themselves. They are accepted when Llama 3's rule gives exactly these.
Json rope_scaling_from(const GgufTensor& factors, double theta, std::uint64_t head_dim,
                       const std::string& path) {
  const std::string origin = path + ": tensor " + factors.name;
  if (factors.format->name() != "f32" || factors.shape != Shape{head_dim / 2})
    fail("{}: {} of shape {}, f32 of shape [{}] expected", origin, factors.format->name(),
         shape_text(factors.shape), head_dim / 2);
  std::vector<float> stored(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t j = 0; j < stored.size(); ++j) stored[j] = load<float>(factors.data.data() + 4 * j);
  const double factor = static_cast<double>(stored.back());
  if (!(factor >= 1)) fail("{}: the last factor is {}, at least 1 expected", origin, factor);
  const std::vector<double> expected = llama3_divisors(factor, theta, head_dim);
  for (std::size_t j = 0; j < stored.size(); ++j) {
    const double found = static_cast<double>(stored[j]);
    if (!(std::abs(found - expected[j]) <= 1e-4 * expected[j]))
      fail("{}: element {} is {}, Llama 3's scaling by {} gives {}; other RoPE scalings are not supported",
           origin, j, found, factor, expected[j]);
  }
  return {{"rope_type", "llama3"},
          {"factor", factor},
          {"low_freq_factor", kLlama3LowFrequencyFactor},
          {"high_freq_factor", kLlama3HighFrequencyFactor},
          {"original_max_position_embeddings", static_cast<std::uint64_t>(kLlama3OriginalLength)}};
}

/// Scaling that stands in the metadata alone (linear, YaRN) is refused.
void refuse_metadata_scaling(GgufMetadata& metadata, const std::string& prefix) {
  const std::string type_key = prefix + "rope.scaling.type";
  const std::string type = metadata.text(type_key).value_or("none");
  if (type != "none")
    fail("{}: key {} is {}: this RoPE scaling is not supported", metadata.path(), type_key, type);
  for (const char* name : {"rope.scaling.factor", "rope.scale_linear"}) {
    const double factor = metadata.number(prefix + name).value_or(1);
    if (factor != 1 && factor != 0)  // some converters write 0 for none
      fail("{}: key {}{} is {}: RoPE scaling is not supported", metadata.path(), prefix, name, factor);
  }
}

void refuse_experts(GgufMetadata& metadata, const std::string& prefix) {
  for (const char* name : {"expert_count", "expert_used_count"})
    if (const auto count = metadata.integer(prefix + name).value_or(0); count != 0)
      fail("{}: key {}{} is {}: mixtures of experts are not supported in GGUF files", metadata.path(), prefix,
           name, count);
}

/// The file's vocabulary is the embedding's row count; everything that also states it must agree.
std::uint64_t vocabulary_of(const GgufFile& file, GgufMetadata& metadata, const std::string& prefix) {
  const GgufTensor* embedding = find_tensor(file, "token_embd.weight");
  if (embedding == nullptr) fail("{}: tensor token_embd.weight is missing", file.path);
  const std::uint64_t rows = embedding->shape.front();
  const std::uint64_t stated = metadata.integer(prefix + "vocab_size").value_or(rows);
  if (stated != rows)
    fail("{}: key {}vocab_size is {}, tensor token_embd.weight has {} rows", file.path, prefix, stated, rows);
  return rows;
}

std::uint64_t head_dim_of(GgufMetadata& metadata, const std::string& prefix, std::uint64_t hidden,
                          std::uint64_t heads) {
  const auto key_length = metadata.integer(prefix + "attention.key_length");
  if (!key_length && (heads == 0 || hidden % heads != 0))
    fail("{}: {} heads do not divide the width {}, and key {}attention.key_length is missing",
         metadata.path(), heads, hidden, prefix);
  const std::uint64_t head_dim = key_length ? *key_length : hidden / heads;
  for (const char* name : {"attention.value_length", "rope.dimension_count"}) {
    const std::uint64_t length = metadata.integer(prefix + name).value_or(head_dim);
    if (length != head_dim)
      fail("{}: key {}{} is {}, the head dimension {} expected", metadata.path(), prefix, name, length,
           head_dim);
  }
  return head_dim;
}

/// Every block has experts, and the weights of those chosen are divided by their sum.
void add_experts(Json& config, GgufMetadata& metadata, const std::string& prefix) {
  const auto count = [&](const char* name) {
    return metadata.require(metadata.integer(prefix + name), prefix + name);
  };
  config.update({{"num_experts", count("expert_count")},
                 {"num_experts_per_tok", count("expert_used_count")},
                 {"moe_intermediate_size", count("expert_feed_forward_length")},
                 {"norm_topk_prob", true},
                 {"decoder_sparse_step", 1},
                 {"mlp_only_layers", Json::array()}});
  metadata.ignore(prefix + "feed_forward_length");  // of blocks without experts
}

}  // namespace

std::vector<double> llama3_divisors(double factor, double theta, std::uint64_t head_dim) {
  std::vector<double> divisors(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t j = 0; j < divisors.size(); ++j)
    divisors[j] = llama3_divisor(
        factor, std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(head_dim)));
  return divisors;
}

const GgufArchitecture& gguf_architecture(GgufMetadata& metadata) {
  const std::string name = metadata.require(metadata.text("general.architecture"), "general.architecture");
  const GgufArchitecture* architecture = find_gguf_architecture(name);
  if (architecture == nullptr)
    fail("{}: architecture {} is not supported ({} are)", metadata.path(), name, gguf_architecture_names());
  const std::string type = metadata.text("general.type").value_or("model");
  if (type != "model") fail("{}: general.type is {}, a model expected", metadata.path(), type);
  const std::uint64_t parts = metadata.integer("split.count").value_or(1);
  if (parts > 1)
    fail("{}: one of {} parts of a split model; join them first (gguf-split --merge)", metadata.path(),
         parts);
  for (const char* key : {"split.no", "split.tensors.count"}) metadata.ignore(key);
  return *architecture;
}

std::uint64_t gguf_interleaved_heads(const GgufArchitecture& architecture, std::string_view name,
                                     const Shape& shape, const Json& config, const std::string& origin) {
  const bool query = name.find(".self_attn.q_proj.") != std::string_view::npos,
             key = name.find(".self_attn.k_proj.") != std::string_view::npos;
  if (!architecture.interleaved_rows || (!query && !key)) return 0;
  if (!name.ends_with(".weight"))
    fail("{}: biases of q and k are not supported in files of the architecture {}, which permutes them",
         origin, architecture.name);
  const auto heads =
      json_get<std::uint64_t>(config, query ? "num_attention_heads" : "num_key_value_heads", origin);
  const std::uint64_t rows = as_matrix(shape).rows;
  if (heads == 0 || rows % heads != 0 || rows / heads % 2 != 0)
    fail("{}: {} rows are not {} heads of an even dimension", origin, rows, heads);
  return heads;
}

Json gguf_config(const GgufFile& file, GgufMetadata& metadata) {
  const GgufArchitecture& architecture = gguf_architecture(metadata);
  const std::string prefix = std::string(architecture.name) + ".";
  const auto count = [&](const char* name) {
    return metadata.require(metadata.integer(prefix + name), prefix + name);
  };
  if (!architecture.experts) refuse_experts(metadata, prefix);
  refuse_metadata_scaling(metadata, prefix);

  const std::uint64_t hidden = count("embedding_length"), heads = count("attention.head_count");
  const std::uint64_t head_dim = head_dim_of(metadata, prefix, hidden, heads);
  const double theta = metadata.number(prefix + "rope.freq_base").value_or(10000.0);
  const std::string epsilon_key = prefix + "attention.layer_norm_rms_epsilon";

  Json rope = {{"rope_type", "default"}};
  if (const GgufTensor* factors = find_tensor(file, kGgufRopeFactors))
    rope = rope_scaling_from(*factors, theta, head_dim, file.path);
  rope["rope_theta"] = theta;

  Json config = {
      {"architectures", Json::array({architecture.model_class})},
      {"model_type", architecture.model_type},
      {"hidden_act", "silu"},
      {"hidden_size", hidden},
      {"num_hidden_layers", count("block_count")},
      {"num_attention_heads", heads},
      {"num_key_value_heads", metadata.integer(prefix + "attention.head_count_kv").value_or(heads)},
      {"head_dim", head_dim},
      {"rms_norm_eps", metadata.require(metadata.number(epsilon_key), epsilon_key)},
      {"rope_parameters", rope},
      {"max_position_embeddings", count("context_length")},
      {"vocab_size", vocabulary_of(file, metadata, prefix)},
      {"tie_word_embeddings", find_tensor(file, "output.weight") == nullptr},
      {"attention_bias", find_tensor(file, "blk.0.attn_q.bias") != nullptr},
      {"mlp_bias", find_tensor(file, "blk.0.ffn_gate.bias") != nullptr}};
  if (architecture.experts)
    add_experts(config, metadata, prefix);
  else
    config["intermediate_size"] = count("feed_forward_length");
  return config;
}

}  // namespace assay
