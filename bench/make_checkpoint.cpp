// Writes a random bf16 Llama checkpoint of a wanted size: what the memory and speed benches quantise.
//   make_checkpoint OUT GIGABYTES
#include <cmath>
#include <cstdlib>
#include <random>

#include <fmt/core.h>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/half.h"
#include "assay/formats/table.h"
#include "assay/parallel/threads.h"
#include "assay/storage/writer.h"

namespace {

using namespace assay;

constexpr std::uint64_t kHidden = 2048, kIntermediate = 5632, kVocabulary = 32000;

std::vector<PlannedTensor> tensors_of(int layers) {
  std::vector<PlannedTensor> tensors;
  const auto add = [&](const std::string& name, Shape shape) {
    tensors.push_back({name, std::move(shape), find_format("bf16")});
  };
  add("model.embed_tokens.weight", {kVocabulary, kHidden});
  for (int i = 0; i < layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    for (const char* projection : {"q", "k", "v", "o"})
      add(fmt::format("{}self_attn.{}_proj.weight", layer, projection), {kHidden, kHidden});
    add(layer + "mlp.gate_proj.weight", {kIntermediate, kHidden});
    add(layer + "mlp.up_proj.weight", {kIntermediate, kHidden});
    add(layer + "mlp.down_proj.weight", {kHidden, kIntermediate});
    add(layer + "input_layernorm.weight", {kHidden});
    add(layer + "post_attention_layernorm.weight", {kHidden});
  }
  add("model.norm.weight", {kHidden});
  return tensors;
}

void write_checkpoint(const std::string& out, double gigabytes) {
  const double layer_bytes = 2.0 * (4.0 * kHidden * kHidden + 3.0 * kHidden * kIntermediate);
  const double ends = 2.0 * kVocabulary * kHidden;
  const int layers = std::max(1, static_cast<int>(std::ceil((gigabytes * 1e9 - ends) / layer_bytes)));
  WriterInput input;
  input.tensors = tensors_of(layers);
  input.config = {{"model_type", "llama"},
                  {"architectures", {"LlamaForCausalLM"}},
                  {"hidden_size", kHidden},
                  {"intermediate_size", kIntermediate},
                  {"vocab_size", kVocabulary},
                  {"num_hidden_layers", layers},
                  {"num_attention_heads", 32},
                  {"num_key_value_heads", 32},
                  {"head_dim", 64},
                  {"rms_norm_eps", 1e-6},
                  {"rope_theta", 10000.0},
                  {"max_position_embeddings", 2048},
                  {"hidden_act", "silu"},
                  {"tie_word_embeddings", true}};
  AtomicDirectory directory(out);
  const auto writer = make_writer(Container::huggingface, directory.staging(), input);
  for (std::size_t t = 0; t < input.tensors.size(); ++t) {
    const MatrixShape shape = as_matrix(input.tensors[t].shape);
    parallel_for(shape.rows, [&](std::size_t row) {
      std::minstd_rand random(static_cast<unsigned>(t * 100003 + row + 1));
      std::vector<std::uint16_t> values(shape.columns);
      for (auto& value : values) {  // a sum of four uniforms: bell-shaped enough, and fast
        float sum = -2;
        for (int k = 0; k < 4; ++k) sum += static_cast<float>(random() & 0xFFFF) * 0x1p-16f;
        value = f32_to_bf16(0.03f * sum);
      }
      writer->write(t, 0, row * shape.columns * 2, std::as_bytes(std::span(values)));
    });
  }
  writer->finish();
  directory.commit();
  fmt::print("{}: {} layers, {} tensors\n", out, layers, input.tensors.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: make_checkpoint OUT GIGABYTES\n");
    return 2;
  }
  try {
    write_checkpoint(argv[1], std::strtod(argv[2], nullptr));
  } catch (const assay::Error& error) {
    fmt::print(stderr, "make_checkpoint: {}\n", error.what());
    return 1;
  }
  return 0;
}
