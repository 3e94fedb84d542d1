// Writes a random checkpoint: what the memory and speed benches work on.
//   make_checkpoint OUT GIGABYTES                         a bf16 Llama with as many layers as that takes
//   make_checkpoint OUT qwen3-0.6b TOKENIZER_FOLDER       the shape of Qwen3-0.6B, bf16, under another
//   model's
//                                                         tokenizer
//   make_checkpoint OUT qwen3-moe GIGABYTES TOKENIZER_FOLDER   layers of Qwen3-30B-A3B's shape, MLX 4 bits,
//   routers 8
#include <cmath>
#include <cstdlib>
#include <random>
#include <string_view>

#include <fmt/core.h>

#include "assay/base/checked.h"
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

/// Layers of Qwen3-30B-A3B: 128 experts of 768, 8 of a token.
struct MixtureShape {
  std::uint64_t hidden = 2048, inner = 768, experts = 128, active = 8, heads = 32, kv_heads = 4,
                head_dim = 128;
  std::uint64_t vocabulary = 0, layers = 1;
};

MixtureShape mixture_of_size(double gigabytes, std::uint64_t vocabulary) {
  MixtureShape shape;
  shape.vocabulary = vocabulary;
  constexpr double kBytesPerWeight = 4.5 / 8;
  const double layer =
      kBytesPerWeight * 3.0 * static_cast<double>(shape.experts * shape.inner * shape.hidden);
  shape.layers = static_cast<std::uint64_t>(std::ceil(gigabytes * 1e9 / layer));
  return shape;
}

std::vector<PlannedTensor> tensors_of(const MixtureShape& shape) {
  std::vector<PlannedTensor> tensors;
  const auto add = [&](const std::string& name, Shape dimensions, const char* format = "mlx4-g64-bf16") {
    tensors.push_back({name, std::move(dimensions), find_format(format)});
  };
  const std::uint64_t queries = shape.heads * shape.head_dim, keys = shape.kv_heads * shape.head_dim;
  add("model.embed_tokens.weight", {shape.vocabulary, shape.hidden});
  for (std::uint64_t i = 0; i < shape.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    add(layer + "self_attn.q_proj.weight", {queries, shape.hidden});
    add(layer + "self_attn.k_proj.weight", {keys, shape.hidden});
    add(layer + "self_attn.v_proj.weight", {keys, shape.hidden});
    add(layer + "self_attn.o_proj.weight", {shape.hidden, queries});
    add(layer + "self_attn.q_norm.weight", {shape.head_dim}, "bf16");
    add(layer + "self_attn.k_norm.weight", {shape.head_dim}, "bf16");
    add(layer + "mlp.gate.weight", {shape.experts, shape.hidden}, "mlx8-g64-bf16");
    add(layer + "mlp.switch_mlp.gate_proj.weight", {shape.experts, shape.inner, shape.hidden});
    add(layer + "mlp.switch_mlp.up_proj.weight", {shape.experts, shape.inner, shape.hidden});
    add(layer + "mlp.switch_mlp.down_proj.weight", {shape.experts, shape.hidden, shape.inner});
    add(layer + "input_layernorm.weight", {shape.hidden}, "bf16");
    add(layer + "post_attention_layernorm.weight", {shape.hidden}, "bf16");
  }
  add("model.norm.weight", {shape.hidden}, "bf16");
  return tensors;
}

Json config_of(const MixtureShape& shape) {
  return {{"model_type", "qwen3_moe"},
          {"architectures", {"Qwen3MoeForCausalLM"}},
          {"hidden_size", shape.hidden},
          {"intermediate_size", shape.inner},
          {"vocab_size", shape.vocabulary},
          {"num_hidden_layers", shape.layers},
          {"num_attention_heads", shape.heads},
          {"num_key_value_heads", shape.kv_heads},
          {"head_dim", shape.head_dim},
          {"num_experts", shape.experts},
          {"num_experts_per_tok", shape.active},
          {"moe_intermediate_size", shape.inner},
          {"norm_topk_prob", true},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000.0},
          {"max_position_embeddings", 2048},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", true}};
}

/// Random codes under scales that make weights of about 0.02.
void write_affine(CheckpointWriter& writer, std::size_t index, const PlannedTensor& tensor) {
  const MatrixShape matrix = as_matrix(tensor.shape);
  const Layout layout = tensor.format->layout(matrix.columns);
  const std::uint64_t units = unit_count(layout, matrix.rows, matrix.columns);
  const auto codes = static_cast<float>(tensor.format->affine()->codes);
  constexpr std::uint64_t kUnits = 1 << 14;
  parallel_for(ceil_divide(units, kUnits), [&](std::size_t block) {
    const std::uint64_t first = block * kUnits, count = std::min(kUnits, units - first);
    std::mt19937_64 random(index * 1000003 + block);
    std::vector<std::uint64_t> packed(count * layout.planes[0].record_bytes / sizeof(std::uint64_t));
    for (auto& eight : packed) eight = random();
    std::vector<std::uint16_t> scales(count), biases(count);
    for (std::uint64_t u = 0; u < count; ++u) {
      const float scale = 0.07f / codes * (0.75f + 0x1p-33f * static_cast<float>(random() >> 32));
      scales[u] = f32_to_bf16(scale);
      biases[u] = f32_to_bf16(-0.5f * (codes - 1) * scale);
    }
    writer.write(index, 0, first * layout.planes[0].record_bytes, std::as_bytes(std::span(packed)));
    writer.write(index, 1, first * 2, std::as_bytes(std::span(scales)));
    writer.write(index, 2, first * 2, std::as_bytes(std::span(biases)));
  });
}

void write_mixture(const std::string& out, const MixtureShape& shape, Sidecars sidecars) {
  WriterInput input;
  input.tensors = tensors_of(shape);
  input.config = config_of(shape);
  input.sidecars = std::move(sidecars);
  AtomicDirectory directory(out);
  const auto writer = make_writer(Container::mlx, directory.staging(), input);
  for (std::size_t t = 0; t < input.tensors.size(); ++t) {
    if (input.tensors[t].format->affine()) {
      write_affine(*writer, t, input.tensors[t]);
      continue;
    }
    const std::vector<std::uint16_t> ones(as_matrix(input.tensors[t].shape).columns, f32_to_bf16(1.0f));
    writer->write(t, 0, 0, std::as_bytes(std::span(ones)));
  }
  writer->finish();
  directory.commit();
  fmt::print("{}: {} layers of {} experts\n", out, shape.layers, shape.experts);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view kind = argc > 2 ? argv[2] : "";
  try {
    if (argc == 4 && kind == "qwen3-0.6b")
      write_checkpoint(argv[1], kQwen3Small, open_model(argv[3])->sidecars);
    else if (argc == 5 && kind == "qwen3-moe" && std::strtod(argv[3], nullptr) > 0) {
      const CheckpointPtr tokenizer =
          open_model(argv[4]);  // its vocabulary: a token of no text cannot be printed
      const auto vocabulary = json_get<std::uint64_t>(tokenizer->config, "vocab_size", argv[4]);
      write_mixture(argv[1], mixture_of_size(std::strtod(argv[3], nullptr), vocabulary), tokenizer->sidecars);
    } else if (argc == 3 && std::strtod(argv[2], nullptr) > 0)
      write_checkpoint(argv[1], llama_of_size(std::strtod(argv[2], nullptr)), {});
    else {
      fmt::print(
          stderr,
          "usage: make_checkpoint OUT GIGABYTES | OUT qwen3-0.6b TOKENIZER_FOLDER | OUT qwen3-moe GIGABYTES "
          "TOKENIZER_FOLDER\n");
      return 2;
    }
  } catch (const assay::Error& error) {
    fmt::print(stderr, "make_checkpoint: {}\n", error.what());
    return 1;
  }
  return 0;
}
