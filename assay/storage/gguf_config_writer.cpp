#include "assay/storage/gguf_config_writer.h"

#include "assay/base/error.h"
#include "assay/storage/gguf_config.h"

namespace assay {
namespace {

const Json& rope_of(const Json& config, const std::string& path) {
  const auto rope = config.find("rope_parameters");
  if (rope == config.end() || !rope->is_object()) fail("{}: config.json has no rope_parameters", path);
  return *rope;
}

/// Blocks without experts would need keys that this architecture does not have.
void write_expert_keys(const Json& config, const std::string& prefix, GgufHeader& header) {
  const std::string& path = header.path();
  const auto dense = config.find("mlp_only_layers");
  if (dense != config.end() && !dense->empty())
    fail("{}: layer {} has no experts; GGUF's {} holds models with experts in every layer", path,
         dense->front().dump(), prefix);
  if (!json_get<bool>(config, "norm_topk_prob", path))
    fail(
        "{}: norm_topk_prob is false; llama.cpp always divides the weights of the chosen experts by their "
        "sum",
        path);
  header.integer(prefix + "expert_count", json_get<std::uint64_t>(config, "num_experts", path));
  header.integer(prefix + "expert_used_count", json_get<std::uint64_t>(config, "num_experts_per_tok", path));
  header.integer(prefix + "expert_feed_forward_length",
                 json_get<std::uint64_t>(config, "moe_intermediate_size", path));
}

}  // namespace

const GgufArchitecture& gguf_architecture_for(const Json& config, const std::string& path) {
  const auto type = json_get<std::string>(config, "model_type", path);
  const GgufArchitecture* architecture = gguf_architecture_of(type);
  if (architecture == nullptr)
    fail("{}: model_type {} is not written as GGUF ({} are); choose another container", path, type,
         gguf_architecture_names());
  return *architecture;
}

void write_gguf_config(const Json& config, GgufHeader& header) {
  const std::string& path = header.path();
  const GgufArchitecture& architecture = gguf_architecture_for(config, path);
  const std::string prefix = std::string(architecture.name) + ".";
  const auto count = [&](const char* name, const char* key) {
    header.integer(prefix + name, json_get<std::uint64_t>(config, key, path));
  };
  header.text("general.architecture", architecture.name);
  header.text("general.type", "model");
  count("vocab_size", "vocab_size");
  count("context_length", "max_position_embeddings");
  count("embedding_length", "hidden_size");
  count("block_count", "num_hidden_layers");
  if (architecture.experts)
    write_expert_keys(config, prefix, header);
  else
    count("feed_forward_length", "intermediate_size");
  count("attention.head_count", "num_attention_heads");
  count("attention.head_count_kv", "num_key_value_heads");
  count("attention.key_length", "head_dim");
  count("attention.value_length", "head_dim");
  count("rope.dimension_count", "head_dim");
  // A norm's epsilon is a float in Assay too, whatever decimals the config has.
  header.number(prefix + "attention.layer_norm_rms_epsilon",
                static_cast<double>(json_get<float>(config, "rms_norm_eps", path)));
  header.number(prefix + "rope.freq_base", json_get<double>(rope_of(config, path), "rope_theta", path));
}

std::optional<std::vector<float>> gguf_rope_factors(const Json& config, const std::string& path) {
  const Json& rope = rope_of(config, path);
  const auto type = json_get<std::string>(rope, "rope_type", path);
  if (type == "default") return std::nullopt;
  const auto number = [&](const char* key) { return json_get_or<double>(rope, key, 0, path); };
  const bool usual = type == "llama3" && number("low_freq_factor") == kLlama3LowFrequencyFactor &&
                     number("high_freq_factor") == kLlama3HighFrequencyFactor &&
                     number("original_max_position_embeddings") == kLlama3OriginalLength;
  if (!usual)
    fail("{}: RoPE scaling {} is not written as GGUF: only Llama 3's with the constants {}, {} and {} is",
         path, rope.dump(), kLlama3LowFrequencyFactor, kLlama3HighFrequencyFactor, kLlama3OriginalLength);
  const auto factor = json_get<double>(rope, "factor", path);
  const std::vector<double> divisors = llama3_divisors(factor, json_get<double>(rope, "rope_theta", path),
                                                       json_get<std::uint64_t>(config, "head_dim", path));
  // Readers find the factor there.
  if (divisors.empty() || static_cast<double>(static_cast<float>(divisors.back())) != factor)
    fail(
        "{}: RoPE scaling {}: the slowest frequency is not divided by the whole factor, so GGUF cannot say "
        "it",
        path, rope.dump());
  return std::vector<float>(divisors.begin(), divisors.end());
}

}  // namespace assay
