#pragma once
// Small random checkpoints, written with the project's own writer.
#include <map>
#include <random>

#include "assay/base/file.h"
#include "assay/base/half.h"
#include "assay/formats/table.h"
#include "assay/storage/writer.h"

namespace assay::test {

struct GeneratedTensor {
  std::string name;
  Shape shape;
  std::string format = "bf16";  // or one that is only read: random legal bytes
};

/// Writes bf16 tensors of normal values (standard deviation 0.02) with the config as a Hugging Face folder,
/// or as another container where the formats need one.
inline void write_model(const std::string& path, const Json& config,
                        const std::vector<GeneratedTensor>& tensors, unsigned seed = 1,
                        Container container = Container::huggingface) {
  WriterInput input;
  for (const auto& tensor : tensors)
    input.tensors.push_back({tensor.name, tensor.shape, find_format(tensor.format)});
  input.config = config;
  AtomicDirectory directory(path);
  const auto writer = make_writer(container, directory.staging(), input);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02f);
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const MatrixShape shape = as_matrix(tensors[t].shape);
    if (tensors[t].format != "bf16") {
      const Layout layout = find_format(tensors[t].format)->layout(shape.columns);
      for (std::size_t p = 0; p < layout.planes.size(); ++p) {
        std::vector<std::byte> plane(
            layout.bytes(layout.planes[p], unit_count(layout, shape.rows, shape.columns)));
        for (std::byte& byte : plane) byte = static_cast<std::byte>(random() % 0x78);
        writer->write(t, p, 0, plane);
      }
      continue;
    }
    std::vector<std::uint16_t> values(shape.rows * shape.columns);
    for (auto& value : values) value = f32_to_bf16(normal(random));
    writer->write(t, 0, 0, std::as_bytes(std::span(values)));
  }
  writer->finish();
  directory.commit();
}

inline Json llama_config(int hidden, int intermediate, int vocabulary) {
  return {{"model_type", "llama"},    {"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", hidden},    {"intermediate_size", intermediate},
          {"vocab_size", vocabulary}, {"num_hidden_layers", 1},
          {"num_attention_heads", 1}, {"num_key_value_heads", 1},
          {"head_dim", hidden},       {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000.0},    {"max_position_embeddings", 64},
          {"hidden_act", "silu"},     {"tie_word_embeddings", true}};
}

/// Every tensor of a one-layer Llama with one head.
inline std::vector<GeneratedTensor> llama_tensors(std::uint64_t hidden, std::uint64_t intermediate,
                                                  std::uint64_t vocabulary) {
  const std::string layer = "model.layers.0.";
  return {{"model.embed_tokens.weight", {vocabulary, hidden}},
          {layer + "input_layernorm.weight", {hidden}},
          {layer + "self_attn.q_proj.weight", {hidden, hidden}},
          {layer + "self_attn.k_proj.weight", {hidden, hidden}},
          {layer + "self_attn.v_proj.weight", {hidden, hidden}},
          {layer + "self_attn.o_proj.weight", {hidden, hidden}},
          {layer + "post_attention_layernorm.weight", {hidden}},
          {layer + "mlp.gate_proj.weight", {intermediate, hidden}},
          {layer + "mlp.up_proj.weight", {intermediate, hidden}},
          {layer + "mlp.down_proj.weight", {hidden, intermediate}},
          {"model.norm.weight", {hidden}}};
}

}  // namespace assay::test
