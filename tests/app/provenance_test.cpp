// What was made on a text must not be measured on it, through every command; kept measurements are of this
// model; folders of others stay.
#include <random>

#include "assay/base/json.h"
#include "assay/model/roles.h"
#include "tests/app/program.h"
#include "tests/quantize/generated_model.h"

namespace assay::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// A model of one small layer with the tokenizer of the bundled one.
class ProvenanceOfPrograms : public Program {
 protected:
  void SetUp() override {
    make_model("model", 1);
    write_bytes(folder.file("train.txt"), made_up_text(1, 300));
    write_bytes(folder.file("test.txt"), made_up_text(2, 300));
    // Other text, and in its midst 150 characters or so of the training text: about a hundred tokens.
    const std::string train = made_up_text(1, 300), test = made_up_text(2, 40);
    write_bytes(folder.file("leaky.txt"), test + train.substr(train.size() / 2, 220) + test);
  }
  void make_model(const std::string& name, unsigned seed) const {
    Json config = llama_config(64, 128, 8192);
    config["max_position_embeddings"] = 1024;
    config["eos_token_id"] = 8189;
    write_model(folder.file(name), config, llama_tensors(64, 128, 8192), seed);
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
      fs::copy_file(demo_model() + "/" + file, folder.file(name + "/" + file));
  }
  std::string at(const std::string& name) const { return folder.file(name); }
  void expect_done(const std::string& arguments) const {
    const Outcome outcome = run(arguments);
    ASSERT_EQ(outcome.code, 0) << arguments << "\n" << outcome.error;
  }
  std::string eval(const std::string& model, const std::string& text) const {
    return "eval " + at(model) + " --text " + at(text) +
           " --max-tokens 20000 --window 128 --stride 64 --json";
  }
};

TEST_F(ProvenanceOfPrograms, AHundredSharedTokensAreRefusedWhateverTheTextWasFor) {
  const std::string calib = " --calib " + at("train.txt");
  // All of the text is drawn, so that the passage certainly is.
  expect_done("quantize " + at("model") + " " + at("gptq") + " --recipe q4 --method gptq" + calib +
              " --calib-tokens 65536 --measure none");
  expect_done(eval("gptq", "test.txt"));
  expect_error(eval("gptq", "leaky.txt"),
               {"leaky.txt", "calibration text", "train.txt", "must not be measured"});

  expect_done("allocate " + at("model") + " --target-bpw 4.5 --formats khw3,khq4" + calib +
              " --calib-tokens 65536 --save-sensitivities " + at("s.json") + " --out " + at("mix.json"));
  expect_done("quantize " + at("model") + " " + at("mix") + " --recipe " + at("mix.json") +
              " --measure none");
  expect_done(eval("mix", "test.txt"));
  expect_error(eval("mix", "leaky.txt"), {"leaky.txt", "allocation text", "train.txt"});
  expect_error("quantize " + at("model") + " " + at("again") + " --recipe " + at("mix.json") + " --measure " +
                   at("leaky.txt"),
               {"leaky.txt", "allocation text"});
  // From the file of sensitivities, in one go.
  expect_done("quantize " + at("model") + " " + at("kept") + " --target-bpw 4.5 --sensitivities " +
              at("s.json") + " --measure none");
  expect_error(eval("kept", "leaky.txt"), {"leaky.txt", "allocation text"});

  // And of what is made of them, by every command that measures.
  expect_done("convert " + at("gptq") + " " + at("converted") + " --container assay");
  expect_error(eval("converted", "leaky.txt"), {"leaky.txt", "calibration text"});
  expect_done("quantize " + at("gptq") + " " + at("rotated") +
              " --recipe q8 --rotate hadamard --measure none");
  expect_error(eval("rotated", "leaky.txt"), {"leaky.txt", "calibration text"});
  const std::string text = " --text " + at("leaky.txt");
  expect_error("gate " + at("converted") + " --reference " + at("model") + text + " --max-kld 1",
               {"leaky.txt", "calibration text"});
  expect_error("compare " + at("model") + " " + at("converted") + text, {"leaky.txt", "calibration text"});
  expect_error("ablate calibration " + at("gptq") + " --calib " + at("test.txt") + text + " --out " +
                   at("rows.jsonl") + " --max-tokens 9000",
               {"leaky.txt", "calibration text"});
}

TEST_F(ProvenanceOfPrograms, SensitivitiesAreOfThisModelAndWhole) {
  expect_done("allocate " + at("model") + " --target-bpw 4.5 --formats khw3,khq4 --calib " + at("train.txt") +
              " --calib-tokens 512 --save-sensitivities " + at("s.json") + " --out " + at("mix.json"));
  const std::string use = " --target-bpw 4.5 --sensitivities " + at("s.json");
  expect_done("allocate " + at("model") + use + " --out " + at("same.json"));
  EXPECT_EQ(read_bytes(at("same.json")), read_bytes(at("mix.json")));
  make_model("other", 2);
  expect_error("allocate " + at("other") + use, {"other", "another model", "measure again"});
  expect_error("quantize " + at("other") + " " + at("q") + use + " --measure none", {"another model"});
  EXPECT_FALSE(fs::exists(at("q")));
  expect_error("allocate " + at("model") + use + " --formats khw3", {"s.json", "khw3,khq4"});
  expect_error("allocate " + at("model") + use + " --plain", {"s.json", "--plain"});
  write_bytes(at("s.json"), R"({"tensors": []})");
  expect_error("allocate " + at("model") + use, {"s.json", "older version", "measure again"});
}

TEST_F(ProvenanceOfPrograms, AFolderOfTheUsersIsNeitherEmptiedNorWrittenInto) {
  fs::create_directory(at("q.calibration"));
  write_bytes(at("q.calibration/tensor-thesis.txt"), "mine");
  const std::string command = "quantize " + at("model") + " " + at("q") +
                              " --recipe q4 --method gptq --calib " + at("train.txt") +
                              " --calib-tokens 512 --measure none";
  expect_error(command, {"q.calibration", "no calibration of ours"});
  EXPECT_EQ(read_bytes(at("q.calibration/tensor-thesis.txt")), "mine");
  EXPECT_EQ(std::distance(fs::directory_iterator(at("q.calibration")), fs::directory_iterator()), 1);
  EXPECT_FALSE(fs::exists(at("q")));
}

TEST_F(ProvenanceOfPrograms, AModelThatNeedsAConfigDirectoryIsMeasuredWithIt) {
  expect_done("quantize " + at("model") + " " + at("lattice") +
              " --recipe q4 --container lattice --measure none");
  fs::create_directory(at("config"));
  for (const char* file : {"config.json", "tokenizer.json", "tokenizer_config.json"})
    fs::rename(at("lattice/" + std::string(file)), at("config/" + std::string(file)));
  fs::remove(at("lattice/assay.json"));
  const std::string command =
      "quantize " + at("lattice") + " " + at("w3") + " --recipe w3 --measure-tokens 2048";
  const Outcome without = run(command);
  EXPECT_EQ(without.code, 1);
  EXPECT_THAT(without.error, HasSubstr("--config-dir"));
  const Outcome outcome = run(command + " --config-dir " + at("config"));
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("measured on"));
  EXPECT_THAT(outcome.out, testing::Not(HasSubstr("NOT measured")));
}

}  // namespace
}  // namespace assay::test
