// Writes a random bf16 checkpoint: what the memory and speed benches quantise.
//   make_checkpoint OUT GIGABYTES                     a Llama with as many layers as that takes
//   make_checkpoint OUT qwen3-0.6b TOKENIZER_FOLDER   the shape of Qwen3-0.6B, under another model's
//   tokenizer
#include <cmath>
#include <cstdlib>
#include <random>
#include <string_view>

#include <fmt/core.h>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/half.h"
#include "assay/formats/table.h"
#include "assay/model/roles.h"
#include "assay/parallel/threads.h"
#include "assay/storage/writer.h"

namespace {

using namespace assay;

struct ModelShape {
  const char* type;
  const char* architecture;
  std::uint64_t hidden, intermediate, vocabulary, heads, kv_heads, head_dim;
  int layers;
  bool head_norms;  // of queries and keys
};

ModelShape llama_of_size(double gigabytes) {
  ModelShape shape{"llama", "LlamaForCausalLM", 2048, 5632, 32000, 32, 32, 64, 1, false};
  const auto hidden = static_cast<double>(shape.hidden);
  const double layer_bytes = 2.0 * hidden * (4.0 * hidden + 3.0 * static_cast<double>(shape.intermediate));
  const double ends = 2.0 * hidden * static_cast<double>(shape.vocabulary);
  shape.layers = std::max(1, static_cast<int>(std::ceil((gigabytes * 1e9 - ends) / layer_bytes)));
  return shape;
}

constexpr ModelShape kQwen3Small{"qwen3", "Qwen3ForCausalLM", 1024, 3072, 151936, 16, 8, 128, 28, true};

std::vector<PlannedTensor> tensors_of(const ModelShape& shape) {
  std::vector<PlannedTensor> tensors;
  const auto add = [&](const std::string& name, Shape dimensions) {
    tensors.push_back({name, std::move(dimensions), find_format("bf16")});
  };
  const std::uint64_t queries = shape.heads * shape.head_dim, keys = shape.kv_heads * shape.head_dim;
  add("model.embed_tokens.weight", {shape.vocabulary, shape.hidden});
  for (int i = 0; i < shape.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    add(layer + "self_attn.q_proj.weight", {queries, shape.hidden});
    add(layer + "self_attn.k_proj.weight", {keys, shape.hidden});
    add(layer + "self_attn.v_proj.weight", {keys, shape.hidden});
    add(layer + "self_attn.o_proj.weight", {shape.hidden, queries});
    if (shape.head_norms) {
      add(layer + "self_attn.q_norm.weight", {shape.head_dim});
      add(layer + "self_attn.k_norm.weight", {shape.head_dim});
    }
    add(layer + "mlp.gate_proj.weight", {shape.intermediate, shape.hidden});
    add(layer + "mlp.up_proj.weight", {shape.intermediate, shape.hidden});
    add(layer + "mlp.down_proj.weight", {shape.hidden, shape.intermediate});
    add(layer + "input_layernorm.weight", {shape.hidden});
    add(layer + "post_attention_layernorm.weight", {shape.hidden});
  }
  add("model.norm.weight", {shape.hidden});
  return tensors;
}

Json config_of(const ModelShape& shape) {
  return {{"model_type", shape.type},
          {"architectures", {shape.architecture}},
          {"hidden_size", shape.hidden},
          {"intermediate_size", shape.intermediate},
          {"vocab_size", shape.vocabulary},
          {"num_hidden_layers", shape.layers},
          {"num_attention_heads", shape.heads},
          {"num_key_value_heads", shape.kv_heads},
          {"head_dim", shape.head_dim},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000.0},
          {"max_position_embeddings", 2048},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", true}};
}

void write_checkpoint(const std::string& out, const ModelShape& shape, Sidecars sidecars) {
  WriterInput input;
  input.tensors = tensors_of(shape);
  input.config = config_of(shape);
  input.sidecars = std::move(sidecars);
  AtomicDirectory directory(out);
  const auto writer = make_writer(Container::huggingface, directory.staging(), input);
  for (std::size_t t = 0; t < input.tensors.size(); ++t) {
    const MatrixShape matrix = as_matrix(input.tensors[t].shape);
    const float centre = input.tensors[t].shape.size() == 1 ? 1.0f : 0.0f;  // norms
    parallel_for(matrix.rows, [&](std::size_t row) {
      std::minstd_rand random(static_cast<unsigned>(t * 100003 + row + 1));
      std::vector<std::uint16_t> values(matrix.columns);
      for (auto& value : values) {  // a sum of four uniforms: bell-shaped enough, and fast
        float sum = -2;
        for (int k = 0; k < 4; ++k) sum += static_cast<float>(random() & 0xFFFF) * 0x1p-16f;
        value = f32_to_bf16(centre + 0.03f * sum);
      }
      writer->write(t, 0, row * matrix.columns * 2, std::as_bytes(std::span(values)));
    });
  }
  writer->finish();
  directory.commit();
  fmt::print("{}: {} layers, {} tensors\n", out, shape.layers, input.tensors.size());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view kind = argc > 2 ? argv[2] : "";
  try {
    if (argc == 4 && kind == "qwen3-0.6b")
      write_checkpoint(argv[1], kQwen3Small, open_model(argv[3])->sidecars);
    else if (argc == 3 && std::strtod(argv[2], nullptr) > 0)
      write_checkpoint(argv[1], llama_of_size(std::strtod(argv[2], nullptr)), {});
    else {
      fmt::print(stderr, "usage: make_checkpoint OUT GIGABYTES | OUT qwen3-0.6b TOKENIZER_FOLDER\n");
      return 2;
    }
  } catch (const assay::Error& error) {
    fmt::print(stderr, "make_checkpoint: {}\n", error.what());
    return 1;
  }
  return 0;
}
