#include "assay/base/error.h"
#include "assay/model/config.h"
#include "assay/model/families/families.h"

namespace assay {

Json config_json(const ModelConfig& config, const std::string& origin) {
  const Family& family = *config.family;
  if (family.delta_net || family.gated_query || family.shifted_norms || family.rotary_factor)
    fail("{}: model_type {} has blocks that this container has no words for; choose another", origin,
         family.model_type);
  Json rope = {{"rope_type", config.rope_scaling ? "llama3" : "default"}, {"rope_theta", config.rope_theta}};
  if (config.rope_scaling)
    rope.update({{"factor", config.rope_scaling->factor},
                 {"low_freq_factor", config.rope_scaling->low_frequency_factor},
                 {"high_freq_factor", config.rope_scaling->high_frequency_factor},
                 {"original_max_position_embeddings", config.rope_scaling->original_length}});
  Json json = {{"model_type", family.model_type},
               {"hidden_act", "silu"},
               {"hidden_size", config.hidden},
               {"num_hidden_layers", config.layers},
               {"num_attention_heads", config.heads},
               {"num_key_value_heads", config.kv_heads},
               {"head_dim", config.head_dim},
               {"rms_norm_eps", config.norm_epsilon},
               {"rope_parameters", std::move(rope)},
               {"max_position_embeddings", config.max_positions},
               {"vocab_size", config.vocabulary},
               {"tie_word_embeddings", config.tied_head},
               {"attention_bias", config.attention_bias},
               {"mlp_bias", config.mlp_bias},
               {"eos_token_id", config.end_tokens}};
  if (config.intermediate > 0) json["intermediate_size"] = config.intermediate;
  if (!family.mixture) return json;
  Json dense = Json::array();
  for (std::size_t layer = 0; layer < config.blocks.size(); ++layer)
    if (config.blocks[layer].feed_forward == FeedForwardKind::dense) dense.push_back(layer);
  json.update({{"num_experts", config.mixture.experts},
               {"num_experts_per_tok", config.mixture.trained_active},
               {"moe_intermediate_size", config.mixture.intermediate},
               {"norm_topk_prob", config.mixture.normalise},
               {"decoder_sparse_step", 1},
               {"mlp_only_layers", std::move(dense)}});
  return json;
}

}  // namespace assay
