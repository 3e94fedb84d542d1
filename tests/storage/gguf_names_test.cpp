#include "assay/storage/gguf_names.h"

#include <gtest/gtest.h>

namespace assay {
namespace {

TEST(GgufNames, TranslatesEveryModule) {
  const std::pair<const char*, const char*> pairs[] = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output.weight", "lm_head.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"},
      {"blk.1.attn_q.weight", "model.layers.1.self_attn.q_proj.weight"},
      {"blk.2.attn_k.bias", "model.layers.2.self_attn.k_proj.bias"},
      {"blk.3.attn_v.weight", "model.layers.3.self_attn.v_proj.weight"},
      {"blk.4.attn_output.weight", "model.layers.4.self_attn.o_proj.weight"},
      {"blk.5.attn_q_norm.weight", "model.layers.5.self_attn.q_norm.weight"},
      {"blk.6.attn_k_norm.weight", "model.layers.6.self_attn.k_norm.weight"},
      {"blk.7.ffn_norm.weight", "model.layers.7.post_attention_layernorm.weight"},
      {"blk.8.ffn_gate.weight", "model.layers.8.mlp.gate_proj.weight"},
      {"blk.9.ffn_up.weight", "model.layers.9.mlp.up_proj.weight"},
      {"blk.10.ffn_down.weight", "model.layers.10.mlp.down_proj.weight"},
      {"blk.0.ffn_gate_inp.weight", "model.layers.0.mlp.gate.weight"},
      {"blk.0.ffn_gate_exps.weight", "model.layers.0.mlp.switch_mlp.gate_proj.weight"},
      {"blk.0.ffn_up_exps.weight", "model.layers.0.mlp.switch_mlp.up_proj.weight"},
      {"blk.0.ffn_down_exps.weight", "model.layers.0.mlp.switch_mlp.down_proj.weight"}};
  for (const auto& [gguf, huggingface] : pairs) {
    EXPECT_EQ(huggingface_name(gguf, 11), huggingface) << gguf;
    EXPECT_EQ(gguf_name(huggingface), gguf) << huggingface;
  }
  EXPECT_EQ(gguf_name("model.layers.0.mlp.experts.0.up_proj.weight"), std::nullopt);
  EXPECT_EQ(gguf_name("layers.0.mlp.up_proj.weight"), std::nullopt);
}

TEST(GgufNames, KnowsNothingElse) {
  for (const char* name : {"",
                           ".",
                           "blk",
                           "blk.",
                           "blk.0",
                           "blk.0.weight",
                           "blk..attn_q.weight",
                           "blk.00.attn_q.weight",
                           "blk.01.attn_q.weight",
                           "blk.-1.attn_q.weight",
                           "blk.+1.attn_q.weight",
                           "blk.11.attn_q.weight",
                           "blk.99999999999999999999.attn_q.weight",
                           "blk.0.attn_q",
                           "blk.0.attn_q.scale",
                           "blk.0.attn_qkv.weight",
                           "blk.0.ffn_gate_shexp.weight",
                           "token_embd",
                           "token_embd.weights",
                           "rope_freqs.weight",
                           "output_norm.weight.weight",
                           "xblk.0.attn_q.weight",
                           "blk.0x.attn_q.weight"})
    EXPECT_EQ(huggingface_name(name, 11), std::nullopt) << name;
}

}  // namespace
}  // namespace assay
