#pragma once
// Small models to audit, sound ones, and what was found.
#include <fmt/core.h>

#include <string>

#include "assay/audit/audit.h"
#include "assay/base/file.h"
#include "assay/base/half.h"
#include "assay/quantize/quantize_model.h"
#include "assay/recipes/mlx_conventions.h"
#include "tests/model/reference_forward.h"
#include "tests/support.h"

namespace assay::test {

inline Json dense_config() {
  return {{"model_type", "qwen3"},  {"hidden_size", 128},       {"intermediate_size", 192},
          {"num_hidden_layers", 4}, {"num_attention_heads", 4}, {"num_key_value_heads", 4},
          {"head_dim", 32},         {"vocab_size", 96},         {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-6},   {"rope_theta", 1e4},        {"tie_word_embeddings", true}};
}

inline Json mixture_config() {
  Json config = dense_config();
  config.update({{"model_type", "qwen3_moe"},
                 {"num_hidden_layers", 3},
                 {"num_experts", 4},
                 {"num_experts_per_tok", 2},
                 {"moe_intermediate_size", 64}});
  return config;
}

/// A Hugging Face folder in bf16.
inline void write_source(const Json& config, const MemoryModel& model, const std::string& path) {
  WriterInput input;
  input.config = config;
  for (const auto& [name, values] : model.values)
    input.tensors.push_back({name, model.shapes.at(name), find_format("bf16")});
  AtomicDirectory directory(path);
  const auto writer = make_writer(Container::huggingface, directory.staging(), input);
  for (std::size_t t = 0; t < input.tensors.size(); ++t) {
    std::vector<std::uint16_t> halves;
    for (const float value : model.values.at(input.tensors[t].name)) halves.push_back(f32_to_bf16(value));
    writer->write(t, 0, 0, std::as_bytes(std::span(halves)));
  }
  writer->finish();
  directory.commit();
}

inline void write_source(const Json& config, unsigned seed, const std::string& path) {
  write_source(config, MemoryModel(config, seed), path);
}

/// The folder of a config with its weights edited; edits see tensors sorted by name.
template <class Edit>
std::string edited_source(const TemporaryFolder& folder, const Json& config, const Edit& edit,
                          const std::string& name) {
  MemoryModel model(config, 9);
  for (auto& [tensor, weights] : model.values) edit(tensor, weights, model.shapes.at(tensor));
  write_source(config, model, folder.file(name));
  return folder.file(name);
}

/// The original and what was made of it.
struct Pair {
  CheckpointPtr original, model;
  std::string what;
};

inline Pair make_pair(const TemporaryFolder& folder, const Json& config, unsigned seed,
                      const std::string& recipe, Container container, Method method = Method::rtn) {
  static int number = 0;
  const std::string source = folder.file("source" + std::to_string(++number));
  const std::string out = folder.file("out" + std::to_string(number));
  write_source(config, seed, source);
  Pair pair{open_model(source), nullptr,
            fmt::format("{} {} {} {}", recipe, container_name(container), method_name(method), seed)};
  if (recipe.empty()) {  // the folder itself
    pair.model = pair.original;
    return pair;
  }
  QuantizeRequest request;
  request.source = pair.original;
  request.recipe = load_recipe(recipe);
  request.plan.container = container;
  request.plan.method = method;
  request.out = out;
  quantize_model(request);
  pair.model = open_model(out, source);
  if (container == Container::mlx) pair.original = with_mlx_conventions(pair.original, true).checkpoint;
  return pair;
}

inline std::string findings(const AuditReport& report) {
  return report.sound() ? "" : audit_text(report);
}

}  // namespace assay::test
