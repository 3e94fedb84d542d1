// Measuring as a user does it: one cluster of text, references that are none, files that are no text, timing.
#include "assay/base/json.h"
#include "tests/app/program.h"

namespace assay {
namespace {

using testing::HasSubstr;
using testing::Not;

class Measuring : public test::Program {
 protected:
  /// About `tokens` tokens of English; two texts of different starts have no long passage in common.
  std::string write_text(const std::string& name, std::size_t words, unsigned start = 0) const {
    static const char* const kWords[] = {"the",   "city",  "of",    "London", "was",   "built",
                                         "near",  "a",     "river", "and",    "many",  "people",
                                         "lived", "there", "when",  "king",   "ruled", "over",
                                         "all",   "land",  "which", "became", "known", "later"};
    std::string text;
    std::uint64_t state = start * 7919 + 1;
    for (std::size_t i = 0; i < words; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      text += std::string(kWords[(state >> 40) % std::size(kWords)]) + (i % 12 == 11 ? ".\n" : " ");
    }
    test::write_bytes(folder.file(name), text);
    return folder.file(name);
  }
  std::string quantise(const std::string& name, const std::string& arguments) const {
    const test::Outcome outcome = run("quantize " + demo + " " + folder.file(name) + " " + arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.error;
    return folder.file(name);
  }
};

TEST_F(Measuring, TheDemosDocumentedMinimumIsOneCluster) {
  for (const std::string& text : {std::string("self"), write_text("text", 800)}) {
    const std::string out = folder.file("demo-" + std::string(text == "self" ? "self" : "file"));
    const std::string command = "demo --recipes q4 --tokens 1024 --text " + text + " --out " + out;
    const test::Outcome outcome = run(command);
    ASSERT_EQ(outcome.code, 0) << outcome.error;
    EXPECT_THAT(outcome.out, HasSubstr("no interval"));
    EXPECT_THAT(outcome.out, HasSubstr("one cluster: no verdict"));
    EXPECT_THAT(test::read_bytes(out + "/report.html"),
                HasSubstr("1 cluster of text, 20 needed for a verdict"));
    const test::Outcome json = run(command + " --json");
    ASSERT_EQ(json.code, 0) << json.error;
    EXPECT_TRUE(Json::parse(json.out)[0]["kld"]["ci95"].is_null());
  }
}

TEST_F(Measuring, OneClusterOfTextIsMeasuredAndClaimsNothing) {
  const std::string q4 = quantise("q4", "--recipe q4 --measure none"), text = write_text("text", 400);
  const test::Outcome eval = run("eval " + q4 + " --reference " + demo + " --text " + text);
  EXPECT_EQ(eval.code, 0) << eval.error;
  EXPECT_THAT(eval.out, HasSubstr("(one cluster: no interval)"));
  EXPECT_THAT(eval.out, HasSubstr("KLD (nats): mean"));
  const test::Outcome compare = run("compare " + demo + " " + q4 + " --text " + text);
  EXPECT_EQ(compare.code, 0) << compare.error;
  EXPECT_THAT(compare.out, HasSubstr("not resolved; 1 cluster of text"));
  expect_error("gate " + q4 + " --reference " + demo + " --max-kld 100 --text " + text,
               {"one cluster", "more text"});
  const test::Outcome quantised =
      run("quantize " + demo + " " + folder.file("measured") + " --recipe q4 --measure " + text);
  EXPECT_EQ(quantised.code, 0) << quantised.error;
  EXPECT_THAT(quantised.out, HasSubstr("one cluster: no interval"));
}

TEST_F(Measuring, AReferenceMustBeWhatTheModelWasMadeFrom) {
  const std::string q2 = quantise("q2", "--recipe mlx2 --measure none"),
                    q8 = quantise("q8", "--recipe q8 --measure none"), text = write_text("text", 2000);
  const std::string limits = " --max-kld 100 --text " + text;
  expect_error("gate " + q2 + " --reference " + q2 + limits, {q2, "very same", "--any-reference"});
  expect_error("gate " + demo + " --reference " + demo + limits, {demo, "very same"});
  expect_error("gate " + q2 + " --reference " + q8 + limits, {q2, q8, "demo", "sha256", "--any-reference"});
  expect_error("eval " + q2 + " --reference " + q2 + " --text " + text, {q2, "very same"});
  expect_error("eval " + q2 + " --reference " + q8 + " --text " + text, {q2, q8, "--any-reference"});
  expect_error("compare " + q8 + " " + q2 + " --text " + text, {q2, q8, "--any-reference"});

  const test::Outcome source = run("gate " + q2 + " --reference " + demo + limits);
  EXPECT_EQ(source.code, 0) << source.error;
  EXPECT_THAT(source.out, HasSubstr("hashes agree"));

  const test::Outcome insisted =
      run("eval " + q2 + " --reference " + q8 + " --any-reference --record --text " + text);
  EXPECT_EQ(insisted.code, 0) << insisted.error;
  EXPECT_THAT(insisted.out, HasSubstr("(--any-reference)"));
  const Json manifest = read_json_file(q2 + "/assay.json");
  EXPECT_EQ(manifest["measurements"].back()["reference"]["check"]["relation"], "not the source");
  const test::Outcome json = run("gate " + q2 + " --reference " + demo + " --json" + limits);
  EXPECT_EQ(Json::parse(json.out)["reference"]["check"]["relation"], "source");
  const test::Outcome unknown = run("eval " + demo + " --reference " + q8 + " --text " + text);
  EXPECT_EQ(unknown.code, 0) << unknown.error;
  EXPECT_THAT(unknown.out, HasSubstr("reference not verifiable"));
  const test::Outcome parity = run("parity " + q8 + " --reference " + demo + " --tokens 2 --json");
  EXPECT_EQ(Json::parse(parity.out)["reference_check"]["relation"], "source");
}

TEST_F(Measuring, WhatIsNoTextIsRefusedByEveryCommandThatReadsText) {
  const std::string weights = demo + "/model.safetensors", text = write_text("text", 800);
  const std::string wide = folder.file("wide");
  std::string bytes;
  for (const char c : test::read_bytes(text)) bytes += {c, '\0'};
  test::write_bytes(wide, bytes);
  const std::string none = " --measure none";
  for (const std::string& command :
       {"eval " + demo + " --text ", "compare " + demo + " " + demo + " --text ",
        "demo --recipes q4 --out " + folder.file("demo") + " --text ",
        "gate " + demo + " --reference " + demo + " --any-reference --max-kld 1 --text ",
        "quantize " + demo + " " + folder.file("a") + " --recipe q4 --measure ",
        "quantize " + demo + " " + folder.file("b") + " --recipe q4 --method gptq --calib-tokens 512" + none +
            " --calib ",
        "allocate " + demo + " --target-bpw 4.5 --calib ",
        "parity " + demo + " --reference " + demo + " --prompts ",
        "ablate calibration " + demo + " --calib " + text + " --out " + folder.file("rows") + " --text ",
        "ablate calibration " + demo + " --text " + text + " --out " + folder.file("rows") +
            " --heldout-tokens 512 --calib "}) {
    const test::Outcome outcome = run(command + wide);
    EXPECT_EQ(outcome.code, 1) << command << outcome.out;
    EXPECT_THAT(outcome.error, HasSubstr("UTF-16 text")) << command;
    EXPECT_THAT(outcome.error, HasSubstr("--any-text")) << command;
  }
  expect_error("eval " + demo + " --text " + weights, {weights, "a safetensors file"});
  const test::Outcome insisted = run("eval " + demo + " --any-text --max-tokens 600 --text " + wide);
  EXPECT_EQ(insisted.code, 0) << insisted.error;
  EXPECT_THAT(insisted.out, HasSubstr("--any-text"));

  test::write_bytes(folder.file("marked"), "\xEF\xBB\xBF" + test::read_bytes(text));
  const test::Outcome plain = run("eval " + demo + " --json --text " + text),
                      marked = run("eval " + demo + " --json --text " + folder.file("marked"));
  EXPECT_EQ(Json::parse(plain.out)["perplexity"], Json::parse(marked.out)["perplexity"]);
  EXPECT_THAT(Json::parse(marked.out)["text_notes"].dump(), HasSubstr("byte-order mark"));
  EXPECT_EQ(Json::parse(plain.out)["text_notes"].dump(), "[]");
}

TEST_F(Measuring, TimingTellsLoadPrefillAndDecode) {
  const test::Outcome text = run("run " + demo + " --prompt 'The city' --max-tokens 4 --timing");
  EXPECT_EQ(text.code, 0) << text.error;
  for (const char* phase : {"load ", "prefill ", "decode "}) EXPECT_THAT(text.error, HasSubstr(phase));
  const test::Outcome json = run("run " + demo + " --prompt 'The city' --max-tokens 4 --timing --json");
  const Json timing = Json::parse(json.out)["timing"];
  for (const char* phase : {"load_seconds", "prefill_seconds", "decode_seconds"})
    EXPECT_GT(timing[phase].get<double>(), 0) << phase;
  const test::Outcome eval = run("eval " + demo + " --timing --text " + write_text("text", 200));
  EXPECT_THAT(eval.error, HasSubstr("evaluation "));
}

}  // namespace
}  // namespace assay
