#pragma once
#include <filesystem>
#include <string>

#include "assay/base/json.h"
#include "assay/model/roles.h"
#include "tests/quantize/generated_model.h"
#include "tests/support.h"

namespace assay::test {

/// A random mixture of experts under the demo's tokenizer.
inline void write_mixture(const std::string& path) {
  const std::string demo = demo_model();
  const Json own = Json::parse(read_bytes(demo + "/config.json"));
  const Json config = {{"model_type", "qwen3_moe"},
                       {"hidden_size", 64},
                       {"num_hidden_layers", 2},
                       {"num_attention_heads", 2},
                       {"num_key_value_heads", 1},
                       {"head_dim", 32},
                       {"vocab_size", own["vocab_size"]},
                       {"max_position_embeddings", 512},
                       {"rms_norm_eps", 1e-6},
                       {"rope_theta", 500.0},
                       {"tie_word_embeddings", true},
                       {"num_experts", 8},
                       {"num_experts_per_tok", 2},
                       {"moe_intermediate_size", 64}};
  const auto expected = expected_tensors(config);
  std::vector<GeneratedTensor> tensors;
  for (const ExpectedTensor& tensor : *expected) tensors.push_back({tensor.name, tensor.shape});
  write_model(path, config, tensors);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    std::filesystem::copy(demo + "/" + name, path + "/" + name);
}

}  // namespace assay::test
