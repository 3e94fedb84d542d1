// The gate sees a rotation that is not one: the forward pass it computes with, and faults planted in plans
// and in tensors.
#include "assay/rotation/rotation_gate.h"

#include "assay/base/error.h"
#include "assay/model/roles.h"
#include "tests/rotation/rotation_models.h"
#include "tests/support.h"

namespace assay {
namespace {

using test::hybrid;
using test::kTokens;
using test::llama_with_biases;
using test::MemoryModel;
using test::tied_qwen;

constexpr double kTolerance = 1e-5;
const std::string kLayer = "model.layers.1.";

RotationStep& step_of(RotationPlan& plan, const std::string& name) {
  return *std::ranges::find(plan.steps, name, &RotationStep::name);
}

using Fault = std::function<void(RotationPlan&)>;

/// A plan with a fault in it, carried out: the forward pass sees it, and so do the elements under the right
/// plan. (Under the plan with the fault they are as planned.)
void expect_both_refuse(const Json& config, const std::string& what, const Fault& fault) {
  SCOPED_TRACE(what);
  const auto source = MemoryModel(config).checkpoint();
  const RotationPlan plan = plan_rotation(*source);
  RotationPlan faulty = plan;
  fault(faulty);
  const Rotation rotation(RotationKind::hadamard, static_cast<std::size_t>(plan.config.hidden), 1);
  const auto rotated = apply_rotation(source, faulty, rotation, "", nullptr);
  EXPECT_ERROR(check_forward(*source, *rotated, rotation, kTokens, kTolerance), "memory", "refused",
               "deviates");
  EXPECT_ERROR(check_elements(*source, *rotated, plan, rotation, kTolerance), "memory");
  EXPECT_ERROR(check_rotation(*source, *rotated, faulty, rotation), "memory", "refused");
}

TEST(RotationGate, PassesTheRightPlan) {
  for (const Json& config : {tied_qwen(), llama_with_biases(), hybrid(), hybrid("qwen3_next")}) {
    const auto source = MemoryModel(config).checkpoint();
    const RotationPlan plan = plan_rotation(*source);
    const Rotation rotation(RotationKind::hadamard, static_cast<std::size_t>(plan.config.hidden), 1);
    const auto rotated = apply_rotation(source, plan, rotation, "", nullptr);
    EXPECT_EQ(check_rotation(*source, *rotated, plan, rotation).tokens.size(), 8u);
    // Another seed is another rotation.
    const Rotation other(RotationKind::hadamard, static_cast<std::size_t>(plan.config.hidden), 2);
    EXPECT_ERROR(check_forward(*source, *rotated, other, kTokens, kTolerance), "residual stream after");
    EXPECT_ERROR(check_elements(*source, *rotated, plan, other, kTolerance), "refused");
  }
}

TEST(RotationGate, RefusesASideThatIsRotatedWrongly) {
  const auto act = [](const std::string& name, RotationAction action) {
    return [name, action](RotationPlan& plan) { step_of(plan, name).action = action; };
  };
  // Queries are as wide as the hidden size here, so that both sides fit.
  const std::string query = kLayer + "self_attn.q_proj.weight", out = kLayer + "self_attn.o_proj.weight";
  expect_both_refuse(llama_with_biases(), "reader as a writer", act(query, RotationAction::rotate_columns));
  expect_both_refuse(llama_with_biases(), "writer as a reader", act(out, RotationAction::rotate_rows));
  for (const char* name : {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight",
                           "self_attn.o_proj.weight", "self_attn.o_proj.bias", "mlp.gate_proj.weight",
                           "mlp.up_proj.weight", "mlp.down_proj.weight", "mlp.down_proj.bias"})
    expect_both_refuse(llama_with_biases(), name, act(kLayer + name, RotationAction::keep));
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"})
    expect_both_refuse(llama_with_biases(), name, act(name, RotationAction::keep));
}

TEST(RotationGate, RefusesAForgottenNorm) {
  for (const char* name : {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight",
                           "mlp.gate_proj.weight", "mlp.up_proj.weight"})
    expect_both_refuse(tied_qwen(), name,
                       [&](RotationPlan& plan) { step_of(plan, kLayer + name).norm.clear(); });
  expect_both_refuse(tied_qwen(), "final norm",
                     [](RotationPlan& plan) { step_of(plan, "lm_head.weight").norm.clear(); });
  for (const std::string& name : {kLayer + "input_layernorm.weight", std::string("model.norm.weight")})
    expect_both_refuse(tied_qwen(), name + " applied twice",
                       [&](RotationPlan& plan) { step_of(plan, name).action = RotationAction::keep; });
}

TEST(RotationGate, RefusesAForgottenTiedHead) {
  expect_both_refuse(tied_qwen(), "head still tied", [](RotationPlan& plan) {
    std::erase_if(plan.steps, [](const RotationStep& step) { return step.name == "lm_head.weight"; });
    plan.config.tied_head = false;  // so that the config goes on saying that it is
  });
  // The head is there, but a config that still ties it denies it: all elements are right.
  const auto source = MemoryModel(tied_qwen()).checkpoint();
  Checkpoint rotated = *rotate_checkpoint(source, {});
  rotated.config = source->config;
  const Rotation rotation(RotationKind::hadamard, 48, kRotationSeed);
  EXPECT_ERROR(check_forward(*source, rotated, rotation, kTokens, kTolerance), "lm_head.weight",
               "tie_word_embeddings");
  check_elements(*source, rotated, plan_rotation(*source), rotation, kTolerance);
}

/// The rotated model with one weight of a tensor replaced.
std::shared_ptr<Checkpoint> with_weight(const Checkpoint& rotated, const std::string& name, std::size_t at,
                                        float value) {
  auto changed = std::make_shared<Checkpoint>(rotated);
  Tensor& tensor = *std::ranges::find(changed->tensors, name, &Tensor::name);
  auto values = std::make_shared<std::vector<float>>(decode_all(tensor));
  (*values)[at] = value;
  tensor.planes = {std::as_bytes(std::span(*values))};
  tensor.owners = {values};
  return changed;
}

TEST(RotationGate, NamesTheElementThatIsWrong) {
  const auto source = MemoryModel(llama_with_biases()).checkpoint();
  const RotationPlan plan = plan_rotation(*source);
  const Rotation rotation(RotationKind::hadamard, 32, 1);
  const auto rotated = apply_rotation(source, plan, rotation, "", nullptr);
  const auto refuses = [&](const std::string& name, std::size_t at, float change, const std::string& where) {
    const float old = decode_all(rotated->at(name))[at];
    EXPECT_ERROR(
        check_elements(*source, *with_weight(*rotated, name, at, old + change), plan, rotation, kTolerance),
        "tensor " + name + where, "refused");
  };
  refuses(kLayer + "mlp.up_proj.weight", 17 * 32 + 5, 1e-3f, ", row 17");
  refuses(kLayer + "mlp.down_proj.weight", 5 * 40 + 19, 1e-3f, ", column 19");
  refuses(kLayer + "self_attn.o_proj.bias", 3, 1e-3f, ", row 0");
  refuses(kLayer + "self_attn.q_proj.bias", 3, 1e-3f, "");
  refuses("model.norm.weight", 3, 1e-3f, "");
}

TEST(RotationGate, RefusesWeightsThatAreNotFinite) {
  const auto source = MemoryModel(llama_with_biases()).checkpoint();
  const RotationPlan plan = plan_rotation(*source);
  const Rotation rotation(RotationKind::hadamard, 32, 1);
  const auto rotated = apply_rotation(source, plan, rotation, "", nullptr);
  const auto broken = with_weight(*rotated, "lm_head.weight", 0, std::nanf(""));
  EXPECT_ERROR(check_elements(*source, *broken, plan, rotation, kTolerance), "lm_head.weight");
  EXPECT_ERROR(check_forward(*source, *broken, rotation, kTokens, kTolerance), "memory");
}

TEST(RotationGate, TensorsMustBeThePlans) {
  const auto source = MemoryModel(llama_with_biases()).checkpoint();
  const RotationPlan plan = plan_rotation(*source);
  const Rotation rotation(RotationKind::hadamard, 32, 1);
  Checkpoint rotated = *apply_rotation(source, plan, rotation, "", nullptr);
  rotated.tensors[0].shape = {32, 33};
  EXPECT_ERROR(check_elements(*source, rotated, plan, rotation, kTolerance), "[32, 33]");
  rotated.tensors.pop_back();
  EXPECT_ERROR(check_elements(*source, rotated, plan, rotation, kTolerance), "the plan has");
}

}  // namespace
}  // namespace assay
