// Models that are not what their config.json says, at every command that opens one.
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <filesystem>

#include "assay/base/json.h"
#include "assay/model/roles.h"
#include "tests/app/program.h"
#include "tests/quantize/generated_model.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using testing::HasSubstr;
using testing::Not;

/// A random model of two layers under the bundled tokenizer, and what was done to it.
class Models : public test::Program {
 protected:
  Json config(const std::string& type = "qwen3") const {
    const Json own = Json::parse(test::read_bytes(demo + "/config.json"));
    Json made = {{"model_type", type},       {"hidden_size", 32},
                 {"intermediate_size", 64},  {"num_hidden_layers", 2},
                 {"num_attention_heads", 2}, {"num_key_value_heads", 1},
                 {"head_dim", 16},           {"vocab_size", own["vocab_size"]},
                 {"rms_norm_eps", 1e-6},     {"max_position_embeddings", 512},
                 {"rope_theta", 500.0},      {"tie_word_embeddings", true}};
    if (type == "qwen3_moe")
      made.update({{"num_experts", 4}, {"num_experts_per_tok", 2}, {"moe_intermediate_size", 32}});
    return made;
  }
  /// Tensors of `weights`, config.json of `says`; `without` is left out.
  std::string write(const std::string& name, const Json& weights, const Json& says,
                    const std::string& without = "", const std::vector<test::GeneratedTensor>& more = {}) {
    const std::string path = folder.file(name);
    std::vector<test::GeneratedTensor> tensors = more;
    const auto expected = expected_tensors(weights);
    for (const ExpectedTensor& tensor : *expected)
      if (tensor.name != without) tensors.push_back({tensor.name, tensor.shape});
    test::write_model(path, says, tensors);
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
      fs::copy(demo + "/" + file, path + "/" + file);
    return path;
  }
  /// Nothing is written, nothing is run, everybody says why; the audit says it with exit 3, inspect shows it.
  void expect_refused(const std::string& path, const std::vector<std::string>& parts) {
    const std::string out = folder.file("out");
    for (const std::string& arguments :
         {"quantize " + path + " " + out + " --recipe q4",
          "quantize " + path + " " + out + " --recipe q4 --measure none",
          "convert " + path + " " + out + " --container assay", "pack-experts " + path + " " + out,
          "allocate " + path + " --target-bpw 4.5 --calib-tokens 512 --out " + out,
          "logits " + path + " --ids 1,2", "routing " + path + " --text self"}) {
      expect_error(arguments, parts);
      EXPECT_FALSE(fs::exists(out)) << arguments;
    }
    const Outcome audit = run("audit " + path);
    EXPECT_EQ(audit.code, 3) << audit.error;
    EXPECT_THAT(audit.out, HasSubstr("WRONG"));
    const Outcome inspect = run("inspect " + path);
    EXPECT_EQ(inspect.code, 1) << inspect.out;
    for (const std::string& part : parts) {
      EXPECT_THAT(audit.out, HasSubstr(part));
      EXPECT_THAT(inspect.out + inspect.error, HasSubstr(part));
    }
  }
};

TEST_F(Models, ATensorThatIsMissing) {
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  expect_refused(write("model", config(), config(), name), {name});
  EXPECT_THAT(run("inspect " + folder.file("model")).out, HasSubstr("INCOMPLETE"));
  const Outcome json = run("inspect " + folder.file("model") + " --json");
  EXPECT_EQ(Json::parse(json.out)["complete"], false);
}

TEST_F(Models, AConfigOfMoreLayersOrFewer) {
  Json says = config();
  says["num_hidden_layers"] = 3;
  expect_refused(write("deeper", config(), says), {"model.layers.2."});
  says["num_hidden_layers"] = 1;
  expect_refused(write("flatter", config(), says), {"model.layers.1."});
  says = config();
  says["vocab_size"] = says["vocab_size"].get<int>() - 1;
  expect_refused(write("fewer", config(), says), {"model.embed_tokens.weight"});
}

TEST_F(Models, NoTensorAtAll) {
  const std::string path = write("model", config(), config());
  fs::remove(path + "/model.safetensors");
  test::write_bytes(path + "/model.safetensors.index.json", R"({"weight_map": {}})");
  expect_refused(path, {"weight_map"});
}

TEST_F(Models, LatticeFoldersWithoutAnEntryAndItsFile) {
  const std::string path = folder.file("lattice");
  ASSERT_EQ(run("quantize " + write("model", config(), config()) + " " + path +
                " --recipe q4 --container lattice --measure none")
                .code,
            0);
  fs::remove(path + "/assay.json");
  Json index = Json::parse(test::read_bytes(path + "/quantize_index.json"));
  for (std::size_t i = 0; i < index.size(); ++i)
    if (index[i]["name"] == "model.layers.0.mlp.down_proj.weight") {
      fs::remove(path + "/" + index[i]["file"].get<std::string>());
      index.erase(i);
      break;
    }
  test::write_bytes(path + "/quantize_index.json", index.dump());
  expect_refused(path, {"model.layers.0.mlp.down_proj.weight"});
}

TEST_F(Models, AssayFoldersWithoutAnEntry) {
  const std::string path = folder.file("packed"), name = "model.layers.1.mlp.experts.3.down_proj.weight";
  ASSERT_EQ(run("convert " + write("model", config("qwen3_moe"), config("qwen3_moe"), name) + " " + path +
                " --container assay")
                .code,
            1);
  fs::remove_all(folder.file("model"));
  ASSERT_EQ(run("convert " + write("model", config("qwen3_moe"), config("qwen3_moe")) + " " + path +
                " --container assay")
                .code,
            0);
  Json says = Json::parse(test::read_bytes(path + "/config.json"));
  says["num_experts"] = 5;
  test::write_bytes(path + "/config.json", says.dump());
  expect_refused(path, {"model.layers.0.mlp.gate.weight"});
}

// What cannot be measured is not written unless that is asked for, and what will not work is said.
TEST_F(Models, AFamilyThatCannotRun) {
  Json says = config();
  says["model_type"] = "mistral";
  const std::string path = write("model", config(), says), out = folder.file("out");
  expect_error("quantize " + path + " " + out + " --recipe q4", {"mistral", "--measure none"});
  expect_error("convert " + path + " " + out + " --container assay", {"mistral", "--unknown"});
  EXPECT_FALSE(fs::exists(out));
  const Outcome asked = run("quantize " + path + " " + out + " --recipe q4 --measure none");
  EXPECT_EQ(asked.code, 0) << asked.error;
  EXPECT_THAT(asked.out + asked.error, HasSubstr("mistral"));
  EXPECT_THAT(asked.out + asked.error, HasSubstr("will not work"));
  EXPECT_THAT(test::read_bytes(out + "/assay.json"), HasSubstr("mistral"));
  EXPECT_EQ(run("convert " + path + " " + folder.file("out2") + " --container assay --unknown").code, 0);
  const Outcome audit = run("audit " + path);
  EXPECT_THAT(audit.out, HasSubstr("'mistral' is not known"));
  const Outcome inspect = run("inspect " + path);
  EXPECT_EQ(inspect.code, 0);
  EXPECT_THAT(inspect.out, HasSubstr("cannot be checked"));
}

TEST_F(Models, AModelWithoutATokenizerIsNotWrittenUnmeasured) {
  const std::string path = write("model", config(), config()), out = folder.file("out");
  fs::remove(path + "/tokenizer.json");
  expect_error("quantize " + path + " " + out + " --recipe q4", {"tokenizer", "--measure none"});
  EXPECT_FALSE(fs::exists(out));
}

TEST_F(Models, SpellingsThatDisagreeAreSaid) {
  Json says = config();
  says["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 300.0}};
  const Outcome inspect = run("inspect " + write("model", config(), says));
  EXPECT_EQ(inspect.code, 0) << inspect.error;
  EXPECT_THAT(inspect.out, HasSubstr("warning: "));
  EXPECT_THAT(inspect.out, HasSubstr("rope_parameters.rope_theta is 300.0, rope_theta is 500.0"));
}

/// Of the largest process that ended so far.
std::uint64_t peak_megabytes() {
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) / 1024;
}

TEST_F(Models, AKilobyteOfConfigTakesNoGigabytes) {
  const Json small = config("qwen3_moe");
  const auto hostile = [&](const std::string& name, const Json& keys) {
    Json says = small;
    says.update(keys);
    const std::string path = write(name, small, says);
    EXPECT_EQ(run("audit " + path).code, 3) << name;
    expect_error("convert " + path + " " + folder.file("out") + " --container assay", {path});
    EXPECT_EQ(run("inspect " + path).code, 1) << name;
  };
  hostile("experts", {{"num_hidden_layers", 4096}, {"num_experts", 256}});
  hostile("more", {{"num_hidden_layers", 4096}, {"num_experts", 65536}});
  hostile("most", {{"num_experts", 2147483648}});
  hostile("layers", {{"num_hidden_layers", 2147483648}});
  hostile("vocabulary", {{"vocab_size", std::uint64_t{1} << 40}});
  hostile("width", {{"hidden_size", std::uint64_t{1} << 40}});
  EXPECT_LT(peak_megabytes(), 400u);
}

// Not even the room for a state or a table of positions that no text will reach.
TEST_F(Models, PositionsThatAreNotUsedTakeNoMemory) {
  Json says = config();
  says["max_position_embeddings"] = 1 << 28;
  EXPECT_EQ(run("logits " + write("long", config(), says) + " --ids 1,2 --last 1").code, 0);
  says["max_position_embeddings"] = std::uint64_t{1} << 40;
  expect_error("logits " + write("longer", config(), says) + " --ids 1,2", {"max_position_embeddings"});
  EXPECT_LT(peak_megabytes(), 400u);
}

}  // namespace
}  // namespace assay
