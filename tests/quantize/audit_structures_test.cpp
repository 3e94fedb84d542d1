// What pruning and model growing leave is no fault where the original has it too.
#include <gmock/gmock.h>

#include <functional>

#include "tests/quantize/audited.h"

namespace assay::test {
namespace {

using Weights = std::vector<float>;

using Edit = std::function<void(const std::string& name, Weights& weights, const Shape& shape)>;

void zero_rows_of(Weights& weights, const Shape& shape, std::uint64_t first, std::uint64_t count) {
  std::fill_n(weights.begin() + static_cast<std::ptrdiff_t>(first * shape.back()), count * shape.back(),
              0.0f);
}

enum class Alone { sound, doubt, wrong, whatever };  // what the audit says without the original

struct Structure {
  const char* name;
  bool mixture;
  Alone alone;
  Edit edit;
};

std::vector<Structure> structures() {
  const auto is = [](const std::string& name, const char* end) { return name.ends_with(end); };
  return {
      {"neurons pruned", false, Alone::doubt,
       [=](const std::string& name, Weights& w, const Shape& shape) {
         if (is(name, "1.mlp.up_proj.weight") || is(name, "1.mlp.gate_proj.weight"))
           zero_rows_of(w, shape, 10, 70);
       }},
      {"rows of one matrix pruned", false, Alone::wrong,
       [=](const std::string& name, Weights& w, const Shape& shape) {
         if (is(name, "1.mlp.up_proj.weight")) zero_rows_of(w, shape, 10, 70);
       }},
      {"a head pruned", false, Alone::doubt,
       [=](const std::string& name, Weights& w, const Shape& shape) {
         if (is(name, "2.self_attn.q_proj.weight") || is(name, "2.self_attn.v_proj.weight"))
           zero_rows_of(w, shape, 32, 32);
         for (std::uint64_t r = 0; is(name, "2.self_attn.o_proj.weight") && r < shape[0]; ++r)
           std::fill_n(w.begin() + static_cast<std::ptrdiff_t>(r * shape[1] + 32), 32, 0.0f);
       }},
      {"two of four weights", false, Alone::sound,
       [=](const std::string& name, Weights& w, const Shape&) {
         for (std::size_t i = 0; name.find("proj") != std::string::npos && i < w.size(); ++i)
           if (i % 4 > 1) w[i] = 0;
       }},
      {"every other column", false, Alone::whatever,
       [=](const std::string& name, Weights& w, const Shape&) {
         for (std::size_t i = 0; is(name, "mlp.up_proj.weight") && i < w.size(); i += 2) w[i] = 0;
       }},
      {"a block added as identity", false, Alone::doubt,
       [=](const std::string& name, Weights& w, const Shape&) {
         if (is(name, "2.self_attn.o_proj.weight") || is(name, "2.mlp.down_proj.weight"))
           std::ranges::fill(w, 0.0f);
       }},
      {"a matrix of zeros", false, Alone::wrong,
       [=](const std::string& name, Weights& w, const Shape&) {
         if (is(name, "2.self_attn.o_proj.weight")) std::ranges::fill(w, 0.0f);
       }},
      {"a layer stacked twice", false, Alone::doubt,
       [saved = std::make_shared<std::map<std::string, Weights>>()](const std::string& name, Weights& w,
                                                                    const Shape&) {
         const std::size_t at = name.find("layers.1."), to = name.find("layers.2.");
         if (at != std::string::npos) (*saved)[name.substr(at + 9)] = w;
         if (to != std::string::npos) w = saved->at(name.substr(to + 9));
       }},
      {"experts made of one MLP", true, Alone::doubt,
       [saved = std::make_shared<std::map<std::string, Weights>>()](const std::string& name, Weights& w,
                                                                    const Shape&) {
         const int expert = expert_of(name);
         if (expert < 0) return;
         const std::string key =
             std::to_string(layer_of(name)) + name.substr(name.rfind('.', name.rfind('.') - 1));
         if (expert == 0)
           (*saved)[key] = w;
         else
           w = saved->at(key);
       }},
      {"an expert pruned", true, Alone::doubt,
       [=](const std::string& name, Weights& w, const Shape&) {
         if (name.find("layers.1.mlp.experts.2.") != std::string::npos) std::ranges::fill(w, 0.0f);
       }},
  };
}

void expect_alone(const Checkpoint& model, const Structure& structure, const std::string& what) {
  const AuditReport report = audit_checkpoint(model, nullptr);
  if (structure.alone == Alone::whatever) return;
  EXPECT_EQ(report.sound(), structure.alone != Alone::wrong)
      << structure.name << " " << what << findings(report);
  if (structure.alone == Alone::doubt) {
    EXPECT_THAT(report.notes, testing::Contains(testing::HasSubstr("doubt: ")))
        << structure.name << " " << what;
  }
}

TEST(Audit, WhatTheOriginalHasTooIsNoFault) {
  const TemporaryFolder folder;
  int number = 0;
  for (const Structure& structure : structures()) {
    const Json config = structure.mixture ? mixture_config() : dense_config();
    const CheckpointPtr original =
        open_model(edited_source(folder, config, structure.edit, std::to_string(++number)));
    EXPECT_EQ(findings(audit_checkpoint(*original, original.get())), "") << structure.name;
    expect_alone(*original, structure, "original");
    for (const char* recipe : {"q4", "mlx4", "w3", "q8"}) {
      if (structure.mixture && std::string(recipe) == "w3") continue;
      QuantizeRequest request;
      request.source = original;
      request.recipe = load_recipe(recipe);
      request.out = folder.file(std::to_string(++number));
      quantize_model(request);
      const CheckpointPtr model = open_model(request.out);
      EXPECT_EQ(findings(audit_checkpoint(*model, original.get())), "") << structure.name << " " << recipe;
      expect_alone(*model, structure, recipe);
    }
  }
}

}  // namespace
}  // namespace assay::test
