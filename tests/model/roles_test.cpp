#include "assay/model/roles.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "assay/base/error.h"
#include "tests/support.h"

namespace assay {
namespace {

TEST(Roles, EveryRoleHasOneNameThatParsesBack) {
  for (int i = 0; i <= static_cast<int>(Role::vision); ++i) {
    const Role role = static_cast<Role>(i);
    EXPECT_NE(role_name(role), "unknown") << i;
    EXPECT_EQ(parse_role(role_name(role)), role) << role_name(role);
  }
  EXPECT_EQ(parse_role("mlp"), std::nullopt);
  EXPECT_EQ(parse_role(""), std::nullopt);
}

TEST(Roles, ClassifiesEveryRowOfTheTable) {
  const std::vector<std::pair<const char*, Role>> names = {
      {"embed_tokens.weight", Role::embedding},
      {"lm_head.weight", Role::head},
      {"layers.0.self_attn.q_proj.weight", Role::attention_q},
      {"layers.11.self_attn.k_proj.weight", Role::attention_k},
      {"layers.0.self_attn.v_proj.weight", Role::attention_v},
      {"layers.0.self_attn.o_proj.weight", Role::attention_o},
      {"layers.0.linear_attn.in_proj_qkvz.weight", Role::linear_attention_in},
      {"layers.0.linear_attn.in_proj_qkv.weight", Role::linear_attention_in},
      {"layers.0.linear_attn.in_proj_z.weight", Role::linear_attention_in},
      {"layers.0.linear_attn.in_proj_ba.weight", Role::linear_attention_gates},
      {"layers.0.linear_attn.in_proj_b.weight", Role::linear_attention_gates},
      {"layers.0.linear_attn.in_proj_a.weight", Role::linear_attention_gates},
      {"layers.0.linear_attn.out_proj.weight", Role::linear_attention_out},
      {"layers.0.mlp.gate_proj.weight", Role::mlp_gate},
      {"layers.0.mlp.up_proj.weight", Role::mlp_up},
      {"layers.0.mlp.down_proj.weight", Role::mlp_down},
      {"layers.0.mlp.experts.127.gate_proj.weight", Role::expert_gate},
      {"layers.0.mlp.experts.0.up_proj.weight", Role::expert_up},
      {"layers.0.mlp.experts.0.down_proj.weight", Role::expert_down},
      {"layers.0.mlp.experts.gate_up_proj", Role::expert_gate_up},
      {"layers.0.mlp.experts.down_proj", Role::expert_down},
      {"layers.0.mlp.switch_mlp.gate_proj.weight", Role::expert_gate},
      {"layers.0.mlp.switch_mlp.up_proj.weight", Role::expert_up},
      {"layers.0.mlp.switch_mlp.down_proj.weight", Role::expert_down},
      {"layers.0.mlp.shared_expert.gate_proj.weight", Role::shared_expert_gate_proj},
      {"layers.0.mlp.shared_expert.up_proj.weight", Role::shared_expert_up},
      {"layers.0.mlp.shared_expert.down_proj.weight", Role::shared_expert_down},
      {"layers.0.mlp.gate.weight", Role::router},
      {"layers.0.mlp.shared_expert_gate.weight", Role::shared_expert_gate},
      {"norm.weight", Role::norm},
      {"layers.0.input_layernorm.weight", Role::norm},
      {"layers.0.post_attention_layernorm.weight", Role::norm},
      {"layers.0.self_attn.q_norm.weight", Role::norm},
      {"layers.0.self_attn.k_norm.weight", Role::norm},
      {"layers.0.linear_attn.norm.weight", Role::norm},
      {"layers.0.linear_attn.conv1d.weight", Role::convolution},
      {"layers.0.linear_attn.A_log", Role::decay},
      {"layers.0.linear_attn.dt_bias", Role::decay},
      {"layers.0.self_attn.q_proj.bias", Role::bias},
      {"layers.0.mlp.down_proj.bias", Role::bias},
      {"layers.0.input_layernorm.bias", Role::bias},
  };
  for (const char* prefix :
       {"", "model.", "model.language_model.", "language_model.model.", "language_model."})
    for (const auto& [name, role] : names)
      EXPECT_EQ(classify_tensor(std::string(prefix) + name), role) << prefix << name;
}

TEST(Roles, VisionAndMultiTokenPredictionOwnTheirPrefixes) {
  for (const char* name : {"mtp.fc.weight", "mtp.norm.weight", "mtp.layers.0.mlp.gate_proj.weight",
                           "mtp.layers.0.self_attn.q_proj.weight", "mtp.pre_fc_norm_hidden.weight"})
    EXPECT_EQ(classify_tensor(name), Role::multi_token_prediction) << name;
  for (const char* name : {"visual.patch_embed.proj.weight", "model.visual.blocks.0.mlp.fc1.bias",
                           "vision_tower.vision_model.embeddings.patch_embedding.weight"})
    EXPECT_EQ(classify_tensor(name), Role::vision) << name;
}

// Whole names only: nothing before, nothing behind, nothing that merely contains a known name.
TEST(Roles, FailsClosed) {
  for (const char* name : {"",
                           ".",
                           "weight",
                           "embed_tokens",
                           "embed_tokens.weight.",
                           "xembed_tokens.weight",
                           "x.embed_tokens.weight",
                           "model.model.embed_tokens.weight",
                           "embed_tokens.scales",
                           "model.layers.mlp.gate_proj.weight",
                           "model.layers.x.mlp.gate_proj.weight",
                           "model.layers.0.mlp.gate_proj",
                           "model.layers.0.mlp.gate_proj.weight2",
                           "model.layers.0.mlp.gate_proj_old.weight",
                           "model.layers.0.mlp.fc1.weight",
                           "model.layers.0.mlp.norm.weight",
                           "model.layers.0.mlp.experts.gate_proj.weight",
                           "model.layers.0.mlp.experts.0.gate_up_proj.weight",
                           "model.layers.0.mlp.experts.gate_up_proj.weight",
                           "model.layers.-1.mlp.up_proj.weight",
                           "model.layers.0.self_attn.qkv_proj.weight",
                           "model.layers.0.self_attn.rotary_emb.inv_freq",
                           "model.layers.0.linear_attn.A_log.weight",
                           "transformer.h.0.attn.c_attn.weight",
                           "model.bias",
                           "model.layers.0.mlp.fc1.bias",
                           "model.layers.0.mlp.gate_proj.biases",
                           "model.layers.0.layer.norm.weight",
                           "model.layers.0.a.b_layernorm.weight",
                           "layernorm.weight"})
    EXPECT_EQ(classify_tensor(name), std::nullopt) << name;
  EXPECT_ERROR(require_role("model.layers.0.mlp.fc1.weight", "folder"), "folder",
               "model.layers.0.mlp.fc1.weight", "unknown", "layers.#.mlp.gate_proj.weight");
}

TEST(Roles, RefusesAdapters) {
  for (const char* name : {"model.layers.0.mlp.gate_proj.lora_A.weight", "x.mlp.gate_proj.lora_B.weight",
                           "mtp.layers.0.mlp.gate_proj.lora_A.weight"}) {
    EXPECT_EQ(classify_tensor(name), std::nullopt) << name;
    EXPECT_ERROR(require_role(name, "folder"), name, "LoRA");
  }
}

TEST(Roles, DenseMlpMatricesAreNoOthers) {
  const auto is_dense_mlp = [](std::string_view name) {
    const auto role = classify_tensor(name);
    return role == Role::mlp_gate || role == Role::mlp_up || role == Role::mlp_down;
  };
  for (const char* layer : {"0", "5", "12"})
    for (const char* projection : {"gate", "up", "down"}) {
      const std::string name =
          std::string("model.language_model.layers.") + layer + ".mlp." + projection + "_proj.weight";
      EXPECT_TRUE(is_dense_mlp(name)) << name;
    }
  for (const char* name :
       {"model.language_model.layers.0.mlp.experts.gate_proj.weight",
        "model.language_model.layers.0.mlp.experts.down_proj.weight",
        "model.language_model.layers.0.mlp.shared_expert.gate_proj.weight",
        "model.language_model.layers.0.mlp.shared_expert_gate.weight",
        "model.language_model.layers.0.self_attn.q_proj.weight",
        "model.language_model.layers.0.self_attn.o_proj.weight",
        "model.language_model.layers.0.linear_attn.in_proj_qkv.weight",
        "model.language_model.layers.0.linear_attn.in_proj_z.weight", "embed_tokens.weight", "lm_head.weight",
        "model.language_model.layers.0.mlp.norm.weight", "model.language_model.layers.0.mlp.gate_proj.bias",
        "x.mlp.gate_proj.lora_A.weight", "mtp.layers.0.mlp.gate_proj.weight"})
    EXPECT_FALSE(is_dense_mlp(name)) << name;
}

TEST(Roles, FloorsAreThoseOfTheFormatsDocument) {
  for (const Role role : {Role::router, Role::shared_expert_gate, Role::linear_attention_gates})
    EXPECT_EQ(floor_bits(role), 8) << role_name(role);
  for (const Role role : {Role::embedding, Role::head, Role::shared_expert_down})
    EXPECT_EQ(floor_bits(role), 4);
  for (const Role role : {Role::norm, Role::convolution, Role::decay, Role::bias})
    EXPECT_EQ(floor_bits(role), 16);
  for (const Role role : {Role::mlp_up, Role::expert_gate_up, Role::attention_k})
    EXPECT_EQ(floor_bits(role), 0);
}

TEST(Roles, BlockMatricesAreTheMatricesInsideTheBlocks) {
  for (const Role role : {Role::attention_q, Role::mlp_down, Role::expert_gate_up, Role::router,
                          Role::shared_expert_gate, Role::linear_attention_gates})
    EXPECT_TRUE(is_block_matrix(role)) << role_name(role);
  for (const Role role : {Role::embedding, Role::head, Role::norm, Role::convolution, Role::decay, Role::bias,
                          Role::multi_token_prediction, Role::vision})
    EXPECT_FALSE(is_block_matrix(role)) << role_name(role);
}

TEST(Roles, TellsWhoseShapeAConvolutionHas) {
  const auto turned = [](const char* name, Shape shape) {
    Tensor tensor;
    tensor.name = name;
    tensor.shape = std::move(shape);
    return is_turned_convolution(tensor);
  };
  const char* const convolution = "model.layers.0.linear_attn.conv1d.weight";
  EXPECT_TRUE(turned(convolution, {12, 4, 1}));
  EXPECT_FALSE(turned(convolution, {12, 1, 4}));
  EXPECT_FALSE(turned(convolution, {12, 4}));
  EXPECT_FALSE(turned(convolution, {12, 4, 2}));
  EXPECT_FALSE(turned("model.layers.0.linear_attn.norm.weight", {12, 4, 1}));
}

TEST(Roles, FindsTheLayer) {
  EXPECT_EQ(layer_of("model.layers.0.mlp.up_proj.weight"), 0);
  EXPECT_EQ(layer_of("model.language_model.layers.59.mlp.experts.511.up_proj.weight"), 59);
  EXPECT_EQ(layer_of("layers.7.input_layernorm.weight"), 7);
  EXPECT_EQ(expert_of("model.language_model.layers.59.mlp.experts.511.up_proj.weight"), 511);
  for (const char* none : {"model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.up_proj.weight",
                           "model.layers.0.mlp.shared_expert.up_proj.weight", "model.layers.0.mlp.experts.7",
                           "model.layers.0.mlp.experts.99999999999.up_proj.weight"})
    EXPECT_EQ(expert_of(none), -1) << none;
  for (const char* name :
       {"model.norm.weight", "mtp.layers.0.mlp.up_proj.weight", "model.layers.x.weight", "model.layers.3",
        "model.layers.", "model.visual.layers.3.weight", "model.layers.99999999999999999999.weight"})
    EXPECT_EQ(layer_of(name), -1) << name;
}

/// Names and shapes of a checkpoint folder, as stored.
std::map<std::string, Shape> stored_shapes(const std::string& folder) {
  std::map<std::string, Shape> shapes;
  const CheckpointPtr checkpoint = open_checkpoint(folder);
  for (const Tensor& tensor : checkpoint->tensors) shapes[tensor.name] = tensor.shape;
  return shapes;
}

std::map<std::string, Shape> expected_shapes(const Json& config) {
  std::map<std::string, Shape> shapes;
  const auto tensors = expected_tensors(config);
  if (tensors)
    for (const ExpectedTensor& tensor : *tensors) shapes[tensor.name] = tensor.shape;
  return shapes;
}

TEST(ExpectedTensors, AreThoseOfTheBundledModel) {
  EXPECT_EQ(expected_shapes(open_checkpoint(test::demo_model())->config), stored_shapes(test::demo_model()));
}

TEST(ExpectedTensors, AreThoseOfEveryArchitectureKnown) {
  for (const char* name : {"small", "llama", "moe", "next", "q35"}) {
    ASSAY_NEEDS_SHARED(std::string("models/") + name);
    const std::string folder = test::shared(std::string("models/") + name);
    EXPECT_EQ(expected_shapes(open_checkpoint(folder)->config), stored_shapes(folder)) << name;
    for (const auto& [tensor, shape] : stored_shapes(folder)) EXPECT_TRUE(classify_tensor(tensor)) << tensor;
  }
}

TEST(ExpectedTensors, AreThoseOfMlxFolders) {
  for (const char* name : {"moe-q4g8", "next-everybits"}) {
    ASSAY_NEEDS_SHARED(std::string("reference/mlx/") + name);
    const auto checkpoint = open_model(test::shared(std::string("reference/mlx/") + name));
    std::map<std::string, Shape> shapes;
    for (const Tensor& tensor : checkpoint->tensors) shapes[tensor.name] = tensor.shape;
    EXPECT_EQ(expected_shapes(checkpoint->config), shapes) << name;
  }
}

TEST(ExpectedTensors, NothingForUnknownArchitectures) {
  EXPECT_EQ(expected_tensors({{"model_type", "gpt2"}}), std::nullopt);
  EXPECT_EQ(expected_tensors(Json::object()), std::nullopt);
  EXPECT_EQ(expected_tensors(Json::array()), std::nullopt);
}

TEST(ExpectedTensors, HostileSizesAreRefusedBeforeAnythingIsAllocated) {
  Json config = {{"model_type", "qwen3_moe"}, {"hidden_size", 64},     {"vocab_size", 100},
                 {"num_hidden_layers", 4000}, {"num_experts", 100000}, {"moe_intermediate_size", 64},
                 {"num_attention_heads", 4},  {"head_dim", 16}};
  config["num_hidden_layers"] = 4000000;
  EXPECT_ERROR(expected_tensors(config), "num_hidden_layers");
  config["hidden_size"] = std::uint64_t{1} << 60;
  EXPECT_ERROR(expected_tensors(config), "hidden_size");
}

}  // namespace
}  // namespace assay
