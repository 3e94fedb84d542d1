// Lattice directories: opening them, what their readers refuse, and that nothing ever stands in for anything.
#include "assay/storage/lattice.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "assay/storage/lattice_index.h"
#include "assay/storage/lattice_rules.h"
#include "tests/storage/lattice_builder.h"
#include "tests/support.h"

namespace assay {
namespace {

using namespace test;

constexpr std::uint64_t kHidden = 32, kIntermediate = 64;
const std::string kMlp = "model.layers.0.mlp.";

/// A directory of one layer's MLP, a norm and the embedding.
class Directory {
 public:
  explicit Directory(bool w3 = false) {
    put("config.json", config().dump());
    add("model.embed_tokens.weight", ones_q4({8, kHidden}), "q4");
    add("model.norm.weight", ones_f16({kHidden}), "f16");
    for (const char* name : {"gate_proj", "up_proj", "down_proj"}) {
      const bool down = std::string_view(name) == "down_proj";
      const std::vector<std::uint64_t> dims = {down ? kHidden : kIntermediate,
                                               down ? kIntermediate : kHidden};
      add(kMlp + name + ".weight", w3 ? ones_w3(dims) : ones_q4(dims), w3 ? "w3" : "q4");
    }
  }

  static Json config() {
    return {{"model_type", "llama"},
            {"hidden_size", kHidden},
            {"intermediate_size", kIntermediate},
            {"tie_word_embeddings", true}};
  }

  void put(const std::string& name, const std::string& content) const {
    write_bytes(folder_.file(name), content);
  }
  void remove(const std::string& name) const { std::filesystem::remove(folder_.file(name)); }
  void add(const std::string& tensor, const std::string& file, const std::string& extension) {
    put(lattice_stem(tensor) + "." + extension, file);
    names_.push_back(tensor);
  }

  const std::string& path() const { return folder_.path().native(); }
  CheckpointPtr open() const { return open_lattice(path(), options()); }
  OpenOptions options() const {
    OpenOptions options;
    options.architecture = [this](const Json&) {
      std::vector<ExpectedTensor> expected;
      for (const std::string& name : names_) expected.push_back({name, shape_of(name)});
      return expected;
    };
    return options;
  }

 private:
  static Shape shape_of(const std::string& name) {
    if (name == "model.embed_tokens.weight") return {8, kHidden};
    if (name == "model.norm.weight") return {kHidden};
    if (name.ends_with("down_proj.weight")) return {kHidden, kIntermediate};
    return {kIntermediate, kHidden};
  }

  TemporaryFolder folder_;
  std::vector<std::string> names_;
};

TEST(Lattice, FindsTensorsByComputedNameWithoutAnIndex) {
  const Directory directory;
  const CheckpointPtr model = directory.open();
  EXPECT_EQ(model->container, Container::lattice);
  ASSERT_EQ(model->tensors.size(), 5u);
  EXPECT_EQ(model->tensors[0].name, "model.embed_tokens.weight");
  EXPECT_EQ(model->files.size(), 5u);
  const Tensor& gate = model->at(kMlp + "gate_proj.weight");
  EXPECT_EQ(gate.shape, (Shape{64, 32}));
  EXPECT_EQ(gate.format->name(), "khq4");
  EXPECT_EQ(gate.file, directory.path() + "/model_layers_0_mlp_gate_proj_weight.q4");
  EXPECT_EQ(decode_all(gate), std::vector<float>(2048, 1.0f));
  EXPECT_EQ(decode_all(model->at("model.norm.weight")), std::vector<float>(32, 1.0f));
  EXPECT_TRUE(model->warnings.empty());
}

TEST(Lattice, NeedsNamesFromSomewhere) {
  const Directory directory;
  EXPECT_ERROR(open_lattice(directory.path()), directory.path().c_str(), "quantize_index.json",
               "model_type llama");
  OpenOptions options;
  options.architecture = [](const Json&) { return std::nullopt; };
  EXPECT_ERROR(open_lattice(directory.path(), options), "not known");
}

TEST(Lattice, IgnoresLeftovers) {
  const Directory directory;
  directory.put("merged_qkvz_0_1024_6144.q4", "a cache of the Metal loader");
  directory.put("model_norm_weight.f16.tmp", "an interrupted write");
  EXPECT_EQ(directory.open()->tensors.size(), 5u);
}

TEST(Lattice, RefusesStrayMissingAndDoubledFiles) {
  Directory directory;
  directory.put("unknown_weight.q4", ones_q4({32}));
  EXPECT_ERROR(directory.open(), "unknown_weight.q4: stray");
  directory.remove("unknown_weight.q4");
  directory.put("model_norm_weight.q4", ones_q4({32}));
  EXPECT_ERROR(directory.open(), "model_norm_weight.q4: stray", "also held by model_norm_weight.f16");
  directory.remove("model_norm_weight.q4");
  directory.remove("model_norm_weight.f16");
  EXPECT_ERROR(directory.open(), "tensor model.norm.weight: no file model_norm_weight.q4, .w3, .q3 or .f16");
  const TemporaryFolder empty;
  EXPECT_ERROR(open_lattice(empty.path().string()), "not a lattice directory");
  EXPECT_ERROR(open_lattice(empty.file("absent")), "cannot list");
}

TEST(Lattice, RefusesNamesThatShareAFile) {
  Directory directory;
  directory.add("model.norm_weight", ones_f16({kHidden}), "f16");
  EXPECT_ERROR(directory.open(), "model_norm_weight.f16", "share this file name");
}

TEST(Lattice, HoldsShapesAgainstTheArchitecture) {
  const Directory directory;
  directory.put("model_norm_weight.f16", ones_f16({kHidden + 1}));
  EXPECT_ERROR(directory.open(), "tensor model.norm.weight: shape is [33], the architecture says [32]");
}

TEST(Lattice, ChecksBlocksWhenTheyAreDecoded) {
  const Directory directory;
  const std::string name = "model_layers_0_mlp_up_proj_weight.q4";
  const std::string good = ones_q4({kIntermediate, kHidden});
  for (const char* bad : {"0000003c", "00bc003c", "007c003c", "007e003c", "003c007c", "003c007e"})
    for (const std::size_t block : {0u, 31u, 63u}) {
      const std::string where = "block " + std::to_string(block) + ":";
      directory.put(name, std::string(good).replace(36 + 20 * block, 4, from_hex(bad)));
      const CheckpointPtr model = directory.open();
      EXPECT_ERROR(decode_all(model->at(kMlp + "up_proj.weight")), name.c_str(),
                   "tensor model.layers.0.mlp.up_proj.weight", where.c_str());
    }
  directory.put("model_norm_weight.f16", ones_f16({kHidden}).replace(28 + 2 * 5, 2, from_hex("007c")));
  directory.put(name, good);
  EXPECT_ERROR(decode_all(directory.open()->at("model.norm.weight")), "model_norm_weight.f16", "element 5");
}

TEST(Lattice, ReadsTheIndex) {
  Directory directory;
  const auto write_index = [&](const char* key, const Json& value) {
    Json index = Json::parse(R"([
      {"name":"model.embed_tokens.weight","file":"model_embed_tokens_weight.q4","quantized":true,"shape":[8,32],"numel":256},
      {"name":"model.layers.0.mlp.down_proj.weight","file":"model_layers_0_mlp_down_proj_weight.q4","quantized":true,"shape":[32,64],"numel":2048},
      {"name":"model.layers.0.mlp.gate_proj.weight","file":"model_layers_0_mlp_gate_proj_weight.q4","quantized":true,"shape":[64,32],"numel":2048},
      {"name":"model.layers.0.mlp.up_proj.weight","file":"model_layers_0_mlp_up_proj_weight.q4","quantized":true,"shape":[64,32],"numel":2048},
      {"name":"model.norm.weight","file":"model_norm_weight.f16","quantized":false,"shape":[32],"numel":32}])");
    if (key != nullptr) index.at(4)[key] = value;
    directory.put("quantize_index.json", index.dump());
  };
  write_index(nullptr, nullptr);
  EXPECT_EQ(open_lattice(directory.path())->tensors.size(), 5u);  // needs no architecture

  const auto refuses = [&](const char* key, const Json& value, const char* found, const char* said) {
    write_index(key, value);
    EXPECT_ERROR(open_lattice(directory.path()), "model_norm_weight.f16: tensor model.norm.weight", found,
                 said, "stale index");
  };
  refuses("file", "../model_norm_weight.f16", "file name is model_norm_weight.f16",
          "says ../model_norm_weight.f16");
  refuses("quantized", true, "quantized is false", "says true");
  refuses("format", "q4", "format is f16", "says q4");
  refuses("shape", {2, 16}, "shape is [32]", "says [2, 16]");
  write_index("format", "f16");
  EXPECT_NO_THROW(open_lattice(directory.path()));
  // An index that agrees with its file does not excuse it from the architecture.
  directory.put("model_norm_weight.f16", ones_f16({2, 16}));
  write_index("shape", {2, 16});
  EXPECT_NO_THROW(open_lattice(directory.path()));
  EXPECT_ERROR(directory.open(), "tensor model.norm.weight: shape is [2, 16], the architecture says [32]");
  directory.put("model_norm_weight.f16", ones_f16({kHidden}));
  write_index("format", "f16");
  directory.put("other.q4", ones_q4({32}));
  EXPECT_ERROR(open_lattice(directory.path()), "other.q4: stray");
}

// An index that is there but bad must never count as absent, even where a scan would succeed.
TEST(Lattice, RefusesAnUnreadableIndex) {
  const Directory directory;
  const std::string index = directory.path() + "/quantize_index.json";
  directory.put("quantize_index.json", "[");
  EXPECT_ERROR(directory.open(), "quantize_index.json: not valid JSON");
  directory.put("quantize_index.json", std::string((16u << 20) + 1, ' '));
  EXPECT_ERROR(directory.open(), "quantize_index.json", "at most 16777216");
  directory.remove("quantize_index.json");
  std::filesystem::create_symlink(directory.path() + "/nowhere", index);
  EXPECT_ERROR(directory.open(), "quantize_index.json", "cannot open");
  std::filesystem::remove(index);
  std::filesystem::create_directory(index);
  EXPECT_ERROR(directory.open(), "quantize_index.json", "not a regular file");
}

TEST(Lattice, TakesConfigAndTokenizerFromElsewhere) {
  const Directory directory;
  const TemporaryFolder source;
  write_bytes(source.file("config.json"), Directory::config().dump());
  write_bytes(source.file("tokenizer.json"), "{}");
  directory.remove("config.json");
  EXPECT_ERROR(directory.open(), directory.path().c_str(), "no config.json", "--config");
  OpenOptions options = directory.options();
  options.config_directory = source.path().string();
  const CheckpointPtr model = open_lattice(directory.path(), options);
  EXPECT_EQ(model->config, Directory::config());
  EXPECT_EQ(model->sidecars.at("tokenizer.json"), "{}");
  directory.put("tokenizer.json", "[]");  // what the directory has itself wins
  EXPECT_EQ(open_lattice(directory.path(), options)->sidecars.at("tokenizer.json"), "[]");
}

TEST(Lattice, TiedHeadsMustBeConsistent) {
  Directory directory;
  Json config = Directory::config();
  config["tie_word_embeddings"] = false;
  directory.put("config.json", config.dump());
  EXPECT_ERROR(directory.open(), "lm_head.weight is missing", "tie_word_embeddings false");
  directory.add("lm_head.weight", ones_q4({kIntermediate, kHidden}), "q4");
  EXPECT_NO_THROW(directory.open());
  config["tie_word_embeddings"] = true;
  directory.put("config.json", config.dump());
  EXPECT_ERROR(directory.open(), "lm_head.weight is present", "tie_word_embeddings true");
  config.erase("tie_word_embeddings");
  config["text_config"] = {{"tie_word_embeddings", true}};
  directory.put("config.json", config.dump());
  EXPECT_ERROR(directory.open(), "lm_head.weight is present");
  config["tie_word_embeddings"] = false;  // the top level wins
  directory.put("config.json", config.dump());
  EXPECT_NO_THROW(directory.open());
}

TEST(LatticeW3, OpensADirectory) {
  const CheckpointPtr model = Directory(true).open();
  EXPECT_EQ(model->at(kMlp + "gate_proj.weight").format->name(), "khw3");
  EXPECT_EQ(decode_all(model->at(kMlp + "gate_proj.weight")), std::vector<float>(2048, 1.0f));
}

TEST(LatticeW3, RefusesMixturesOfExperts) {
  const Directory directory(true), q4;
  for (const char* key : {"num_experts", "num_local_experts", "num_experts_per_tok", "moe_intermediate_size",
                          "shared_expert_intermediate_size"}) {
    Json config = Directory::config();
    config[key] = 4u;
    directory.put("config.json", config.dump());
    EXPECT_ERROR(directory.open(), directory.path().c_str(), "mixture-of-experts", key);
    q4.put("config.json", config.dump());
    EXPECT_NO_THROW(q4.open());
    config[key] = 0;  // counts as absent
    directory.put("config.json", config.dump());
    EXPECT_NO_THROW(directory.open());
    config.erase(key);
    config["text_config"] = {{key, 4u}};
    directory.put("config.json", config.dump());
    EXPECT_ERROR(directory.open(), "mixture-of-experts");
  }
}

TEST(LatticeW3, AMissingFileIsNeverReplaced) {
  const Directory directory(true);
  directory.remove("model_layers_0_mlp_up_proj_weight.w3");
  EXPECT_ERROR(directory.open(), "model_layers_0_mlp_up_proj_weight.w3: missing",
               "tensor model.layers.0.mlp.up_proj.weight");
  for (const char* extension : {".q4", ".f16"}) {
    const std::string name = "model_layers_0_mlp_up_proj_weight" + std::string(extension);
    directory.put(name, std::string(extension) == ".q4" ? ones_q4({64, 32}) : ones_f16({64, 32}));
    EXPECT_ERROR(directory.open(), "model_layers_0_mlp_up_proj_weight.w3: missing",
                 "no other file stands in");
    directory.remove(name);
  }
}

TEST(LatticeW3, AStrayQ4BesideAW3IsRefused) {
  const Directory directory(true);
  directory.put("model_layers_0_mlp_up_proj_weight.q4", ones_q4({64, 32}));
  EXPECT_ERROR(directory.open(), "model_layers_0_mlp_up_proj_weight.q4: stray",
               "also held by model_layers_0_mlp_up_proj_weight.w3");
}

TEST(LatticeW3, RefusesShapesAndShortPayloads) {
  const Directory directory(true);
  const std::string name = "model_layers_0_mlp_gate_proj_weight.w3";
  OpenOptions options;  // no shapes from the architecture: the rules must stand on their own
  options.architecture = [&](const Json& config) {
    auto expected = directory.options().architecture(config);
    for (ExpectedTensor& tensor : *expected)
      if (tensor.name == kMlp + "gate_proj.weight") tensor.shape = {32, 64};
    return expected;
  };
  directory.put(name, ones_w3({32, 64}));
  EXPECT_ERROR(open_lattice(directory.path(), options),
               "gate_proj.weight: shape is [32, 64], config.json says [64, 32]");
  const std::string good = ones_w3({64, 32});
  directory.put(name, good.substr(0, good.size() - 1));
  EXPECT_ERROR(directory.open(), name.c_str(), "payload is 1023 bytes, header needs 1024 (truncated)");
}

TEST(LatticeW3, RefusesRowsThatAreNotWholeBlocks) {
  const Json config = {{"hidden_size", 40u}, {"intermediate_size", 64u}};
  EXPECT_ERROR(check_lattice_rules({{kMlp + "gate_proj.weight", {64, 40}, ".w3"}}, config, "dir"),
               "dir: tensor model.layers.0.mlp.gate_proj.weight: rows of 40 weights, a multiple of 32");
  EXPECT_ERROR(check_lattice_rules({{kMlp + "gate_proj.weight", {64, 40}, ".w3"}}, Json::object(), "dir"),
               "hidden_size", "missing");
  EXPECT_ERROR(check_lattice_rules(
                   {{kMlp + "up_proj.weight", {64, 40}, ".w3"}, {kMlp + "gate_proj.weight", {64, 40}, ".q4"}},
                   {{"hidden_size", 32u}, {"intermediate_size", 64u}}, "dir"),
               "up_proj.weight: shape is [64, 40]");
}

TEST(LatticeW3, RefusesADenseMlpMatrixInAnotherFile) {
  EXPECT_ERROR(check_lattice_rules(
                   {{kMlp + "up_proj.weight", {64, 32}, ".w3"}, {kMlp + "gate_proj.weight", {64, 32}, ".q4"}},
                   {{"hidden_size", 32u}, {"intermediate_size", 64u}}, "dir"),
               "dir: tensor model.layers.0.mlp.gate_proj.weight: a .q4 file, .w3 expected");
}

TEST(LatticeW3, KnowsDenseMlpMatrices) {
  for (const char* layer : {"0", "5", "12"})
    for (const char* name : {"gate", "up", "down"})
      EXPECT_TRUE(is_lattice_w3_name(std::string("model.language_model.layers.") + layer + ".mlp." + name +
                                     "_proj.weight"));
  for (const char* name :
       {"l.0.mlp.experts.gate_proj.weight", "l.0.mlp.experts.down_proj.weight",
        "l.0.mlp.shared_expert.gate_proj.weight", "l.0.mlp.shared_expert_gate.weight",
        "l.0.self_attn.q_proj.weight", "l.0.self_attn.o_proj.weight", "l.0.linear_attn.in_proj_qkv.weight",
        "l.0.linear_attn.in_proj_z.weight", "embed_tokens.weight", "lm_head.weight", "l.0.mlp.norm.weight",
        "l.0.mlp.gate_proj.bias", "x.mlp.gate_proj.lora_A.weight", "mtp.layers.0.mlp.gate_proj.weight",
        "model.mtp.layers.0.mlp.gate_proj.weight", "mlp.gate_proj.weight"})
    EXPECT_FALSE(is_lattice_w3_name(name)) << name;
}

TEST(Lattice, TellsTheSymmetricFit) {
  const Directory directory;
  std::string payload;  // scale 1, bias -8
  for (int block = 0; block < 8; ++block) payload += from_hex("003c00c8") + std::string(16, '\x99');
  directory.put("model_embed_tokens_weight.q4", lattice_bytes("KHQ4", 2, 2, {8, 32}, 256, payload));
  const CheckpointPtr model = directory.open();
  ASSERT_EQ(model->warnings.size(), 1u);
  EXPECT_NE(model->warnings[0].find("1 of 4 quantised tensors use the symmetric fit"), std::string::npos);
}

TEST(Lattice, WarnsOfRotatedWeights) {
  const Directory directory;
  Json config = Directory::config();
  config["quarot_rotation_seed"] = 12648430;
  directory.put("config.json", config.dump());
  ASSERT_EQ(directory.open()->warnings.size(), 1u);
  EXPECT_NE(directory.open()->warnings[0].find("rotated basis"), std::string::npos);
  config.erase("quarot_rotation_seed");
  config["text_config"] = {{"quarot_rotation_seed", 1}};
  directory.put("config.json", config.dump());
  EXPECT_EQ(directory.open()->warnings.size(), 1u);
}

TEST(Lattice, ReadsVersion1) {
  const Directory directory;
  std::string payload;
  for (int block = 0; block < 8; ++block) payload += from_hex("ee4253b82d74ca3f96eb52a71d64c93e85db");
  directory.put("model_embed_tokens_weight.q4", lattice_bytes("KHQ4", 1, 2, {8, 32}, 256, payload));
  const CheckpointPtr model = directory.open();
  const Tensor& embedding = model->at("model.embed_tokens.weight");
  EXPECT_EQ(embedding.format->name(), "khq4-v1");
  const std::vector<float> weights = decode_all(embedding);
  const float scale = 3.46484375f;  // f16 42ee
  EXPECT_EQ(weights[0], (3 - 8) * scale);
  EXPECT_EQ(weights[255], (13 - 8) * scale);
}

}  // namespace
}  // namespace assay
