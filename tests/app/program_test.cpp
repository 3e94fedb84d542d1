// The program as a user runs it: help, exit codes, one-line errors, JSON, the demo model end to end.
#include <gmock/gmock.h>

#include <array>
#include <random>

#include "assay/base/isa.h"
#include "assay/base/json.h"
#include "tests/app/mixture.h"
#include "tests/app/program.h"

namespace assay {
namespace {

using test::Outcome;
using test::Program;
using testing::HasSubstr;

constexpr std::array kCommands = {"quantize", "allocate", "audit",   "inspect", "eval",        "compare",
                                  "gate",     "run",      "parity",  "bench",   "logits",      "convert",
                                  "formats",  "recipes",  "routing", "demo",    "pack-experts"};

TEST_F(Program, AuditPassesASoundModelAndRefusesADamagedOne) {
  const std::string model = folder.file("model");
  ASSERT_EQ(run("quantize " + demo + " " + model + " --recipe mlx4 --container mlx --measure none").code, 0);
  const Outcome sound =
      run("audit " + model + " --against " + demo + " --json --html " + folder.file("page.html"));
  EXPECT_EQ(sound.code, 0) << sound.out;
  const Json report = Json::parse(sound.out);
  EXPECT_EQ(report["sound"], true);
  EXPECT_EQ(report["tensors"].size(), 46u);
  EXPECT_THAT(test::read_bytes(folder.file("page.html")), HasSubstr("model.layers.3.mlp.down_proj.weight"));

  const std::string shard = model + "/model.safetensors";
  std::string bytes = test::read_bytes(shard);
  std::fill_n(bytes.end() - 400000, 300000, '\0');  // as if never written
  test::write_bytes(shard, bytes);
  const Outcome damaged = run("audit " + model);
  EXPECT_EQ(damaged.code, 3);
  EXPECT_THAT(damaged.out, HasSubstr("WRONG"));
  bytes.resize(bytes.size() - 1);
  test::write_bytes(shard, bytes);
  const Outcome truncated = run("audit " + model);
  EXPECT_EQ(truncated.code, 3);
  EXPECT_THAT(truncated.out, HasSubstr("unreadable"));
  expect_error("audit " + folder.file("nowhere"), {"nowhere", "no such file"});
}

TEST_F(Program, RunsExpertsFromDisk) {
  const std::string model = folder.file("moe"), packed = folder.file("packed");
  test::write_mixture(model);
  ASSERT_EQ(run("pack-experts " + model + " " + packed).code, 0);
  expect_error("pack-experts " + model + " " + packed, {packed, "exists already"});
  expect_error("pack-experts " + demo + " " + folder.file("dense"), {"dense model"});
  const std::string rest = " --prompt 'The city' --max-tokens 5 --json";
  const Outcome resident = run("run " + model + rest);
  ASSERT_EQ(resident.code, 0) << resident.error;
  const Json truth = Json::parse(resident.out)["ids"];
  for (const std::string& path : {model, packed}) {
    const Outcome streamed = run("run " + path + rest + " --expert-cache 60KB --timing");
    ASSERT_EQ(streamed.code, 0) << streamed.error;
    const Json answer = Json::parse(streamed.out);
    EXPECT_EQ(answer["ids"], truth);
    ASSERT_EQ(answer["experts"]["layers"].size(), 2u);
    EXPECT_GT(answer["experts"]["layers"][0]["bytes_read"].get<std::uint64_t>(), 0u);
    EXPECT_GT(answer["experts"]["dropped"].get<std::uint64_t>(), 0u);
  }
  const Outcome table = run("run " + packed + " --prompt a --max-tokens 2 --expert-cache 1MB --timing");
  EXPECT_THAT(table.error, HasSubstr("hits %"));
  const Outcome fewer = run("run " + model + rest + " --active-experts 1");
  EXPECT_EQ(fewer.code, 0);
  EXPECT_THAT(fewer.error, HasSubstr("a token visits 1 experts, 2 in training"));
  expect_error("run " + model + rest + " --expert-cache 1KB", {"moe", "at least one expert must fit"});
  expect_error("run " + demo + rest + " --expert-cache 1MB", {"dense"});
  EXPECT_EQ(run("run " + model + rest + " --timing").code, 0) << "experts in memory have times too";
  EXPECT_EQ(run("run " + model + rest + " --expert-cache lots").code, 2);
  EXPECT_EQ(run("run " + model + rest + " --expert-cache 0").code, 2) << "not: everything in memory";

  const Outcome audited = run("audit " + packed + " --against " + model);
  EXPECT_THAT(audited.out, HasSubstr("routers: 100.0 %"));
}

TEST_F(Program, EveryCommandHasHelpWithExamples) {
  const Outcome help = run("--help");
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, HasSubstr("ablate"));
  std::vector<std::string> commands(kCommands.begin(), kCommands.end());
  for (const std::string& command : commands) EXPECT_THAT(help.out, HasSubstr(command));
  commands.insert(commands.end(), {"ablate calibration", "ablate verdict"});
  for (const std::string& command : commands) {
    const Outcome outcome = run(command + " --help");
    EXPECT_EQ(outcome.code, 0) << command;
    EXPECT_THAT(outcome.out, HasSubstr("Examples:\n")) << command;
    EXPECT_THAT(outcome.out, HasSubstr("assay " + command)) << command;
    EXPECT_THAT(outcome.out, HasSubstr("--json")) << command;
    EXPECT_THAT(outcome.out, HasSubstr("--threads")) << command;
  }
}

TEST_F(Program, UsageErrorsExitWithTwo) {
  EXPECT_EQ(run("").code, 2);
  EXPECT_EQ(run("quantise x y").code, 2);
  EXPECT_EQ(run("quantize " + demo).code, 2);
  EXPECT_EQ(run("quantize " + demo + " " + folder.file("o") + " --recipe q4 --containre mlx").code, 2);
  EXPECT_EQ(run("quantize " + demo + " " + folder.file("o") + " --recipe q4 --container huggingface").code,
            2);
  EXPECT_EQ(run("formats --threads 0").code, 2);
}

// What is lacking may be what was mistyped.
TEST_F(Program, AMistypedOptionIsNamedWhereTheRightOneIsLacking) {
  const Outcome outcome = run("eval " + demo + " --txt t.txt");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.error, HasSubstr("--txt is no option of eval; --text is required"));
}

TEST_F(Program, KernelsAndInstructionSetsAreForcedOrRefused) {
  const std::string logits = "logits " + demo + " --ids 5,6,7 --json";
  EXPECT_EQ(run(logits + " --kernel stored").out, run(logits + " --kernel decoded").out);
  test::write_bytes(folder.file("t.txt"), std::string(400, 'a') + " the city of London\n");
  const std::string eval = "eval " + demo + " --text " + folder.file("t.txt") + " --window 32 --stride 16";
  EXPECT_THAT(run(eval + " --kernel decoded").out, HasSubstr("decoded to f32"));
  EXPECT_THAT(run(eval + " --kernel stored").out, HasSubstr("decoded at every call"));
  ::unsetenv("OPENBLAS_CORETYPE");  // that of this process
  for (const Isa isa : isas_of_machine()) {
    const Outcome outcome = run(eval + " --isa " + std::string(isa_name(isa)));
    EXPECT_EQ(outcome.code, 0) << outcome.error;
    if (isa == isas_of_machine().back()) continue;
    EXPECT_THAT(outcome.out, HasSubstr(isa == Isa::baseline ? "(Prescott)" : "(Haswell)"));
  }
  if (isas_of_machine().size() > 1) {
    ::setenv("OPENBLAS_CORETYPE", "Haswell", 1);
    expect_error(eval + " --isa baseline", {"--isa baseline", "Haswell", "OPENBLAS_CORETYPE"});
    ::unsetenv("OPENBLAS_CORETYPE");
  }
  expect_error(logits + " --kernel fastest", {"no kernel is called \"fastest\"", "decoded, stored"});
  expect_error(logits + " --isa mmx", {"no instruction set is called \"mmx\"", "baseline, avx2, avx512"});
  EXPECT_EQ(run(logits + " --kernel stored --residency packed").code, 2);
}

TEST_F(Program, ErrorsAreOneLineThatNamesTheCause) {
  expect_error("inspect /nowhere", {"/nowhere"});
  expect_error("inspect " + folder.path().string(), {folder.path().string()});
  expect_error("quantize " + demo + " " + folder.file("o") + " --recipe q5", {"q5", "w3-mlp"});
  expect_error("quantize " + demo + " " + folder.file("o") + " --recipe q4 --embed khq9", {"khq9"});
  expect_error("eval " + demo + " --text /nowhere.txt", {"/nowhere.txt"});
  expect_error("run " + folder.file("none") + " --prompt x", {"none"});
}

TEST_F(Program, TruncatedModelIsRefused) {
  std::filesystem::copy(demo, folder.file("cut"));
  std::filesystem::resize_file(folder.file("cut/model.safetensors"), 5'000'000);
  expect_error("eval " + folder.file("cut") + " --text self", {"model.safetensors"});
}

TEST_F(Program, ListsAreValidJson) {
  const Json formats = Json::parse(run("formats --json").out);
  bool found = false;
  for (const Json& format : formats) found |= format["name"] == "khq4" && format["bits_per_weight"] == 5.0;
  EXPECT_TRUE(found);
  EXPECT_EQ(Json::parse(run("recipes --json").out)[0]["name"], "f16");
  EXPECT_EQ(Json::parse(run("recipes --show w3").out)["name"], "w3");
}

TEST_F(Program, DryRunWritesNothing) {
  const Outcome outcome = run("quantize " + demo + " " + folder.file("o") + " --recipe w3 --dry-run");
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("khw3"));
  EXPECT_FALSE(std::filesystem::exists(folder.file("o")));
}

TEST_F(Program, CalibratesAndAllocates) {
  const std::string w3 = folder.file("w3"), mix = folder.file("mix.json");
  expect_error("quantize " + demo + " " + w3 + " --recipe w3 --method gptq --measure none", {"--calib"});
  // One matrix: under sanitizers a whole model takes minutes.
  const std::string one = folder.file("one.json");
  test::write_bytes(one, R"({"name": "one", "rules": [
    {"names": ["model.layers.0.mlp.gate_proj.weight"], "format": "khw3"}]})");
  Outcome outcome = run("quantize " + demo + " " + w3 + " --recipe " + one +
                        " --method gptq --calib self --calib-tokens 512 --measure none --json");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const Json manifest = Json::parse(outcome.out);
  const Json& gate = manifest["tensors"]["model.layers.0.mlp.gate_proj.weight"];
  EXPECT_EQ(gate["method"], "gptq");
  EXPECT_LT(gate["calibration"]["loss"].get<double>(), gate["calibration"]["plain_loss"].get<double>());
  EXPECT_EQ(manifest["calibration"]["tokens"], 512);
  EXPECT_FALSE(std::filesystem::exists(w3 + ".calibration"));
  EXPECT_THAT(run("inspect " + w3 + " --tensors").out, HasSubstr("rows plain"));

  const std::string measured = folder.file("sensitivities.json"), allocate = "allocate " + demo;
  outcome = run(allocate + " --target-bpw 4 --formats mlx2-g64,khq4 --plain --calib-tokens 512 --out " + mix +
                " --save-sensitivities " + measured);
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  outcome = run("quantize " + demo + " " + folder.file("mixed") + " --measure none --json --recipe " + mix);
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const double bits = Json::parse(outcome.out)["size"]["linear_bits_per_weight"];
  EXPECT_LE(bits, 4);
  EXPECT_GT(bits, 3.9);
  expect_error(allocate + " --target-bpw 1.5 --sensitivities " + measured, {"cannot be reached"});
  expect_error(allocate, {"--target-bpw"});
}

TEST_F(Program, AblatesCalibrationAndReplaysItsVerdicts) {
  std::mt19937 random(1);
  for (const char* name : {"calibration.txt", "test.txt"}) {
    std::string text;
    for (int word = 0; word < 2500; ++word) {
      for (unsigned letter = 0; letter < 2 + random() % 6; ++letter)
        text += static_cast<char>('a' + random() % 26);
      text += random() % 9 == 0 ? '\n' : ' ';
    }
    test::write_bytes(folder.file(name), text);
  }
  const std::string rows = folder.file("rows.jsonl"), page = folder.file("page.md");
  const Outcome made = run("ablate calibration " + demo + " --calib " + folder.file("calibration.txt") +
                           " --text " + folder.file("test.txt") + " --out " + rows +
                           " --formats int6-row --batches 0,1 --batch-tokens 512 --seeds 1,2"
                           " --max-tokens 1024 --heldout-tokens 512");
  ASSERT_EQ(made.code, 0) << made.error;
  EXPECT_THAT(made.out, HasSubstr("\"contrast\":\"0->1\""));
  const Outcome replayed = run("ablate verdict " + rows + " --report " + page);
  EXPECT_EQ(replayed.out, made.out);
  EXPECT_THAT(test::read_bytes(page), HasSubstr("| int6-row | bpb_post_quant | 0 to 1 |"));
  expect_error("ablate verdict " + folder.file("test.txt"), {"test.txt", "line 1"});
  EXPECT_EQ(run("ablate").code, 2);
}

TEST_F(Program, RotatesBeforeItQuantises) {
  const Outcome outcome = run("quantize " + demo + " " + folder.file("rotated") +
                              " --recipe mlx4 --rotate hadamard --measure-tokens 2048 --json");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const Json manifest = Json::parse(outcome.out);
  EXPECT_EQ(manifest["rotation"]["kind"], "hadamard");
  EXPECT_EQ(manifest["tensors"]["model.layers.0.mlp.gate_proj.weight"]["format"], "mlx4-g64-bf16");
  EXPECT_LT(manifest["measurements"][0]["kld"]["mean"].get<double>(), 1);
}

TEST_F(Program, QuantiseMeasureGateConvert) {
  const std::string q4 = folder.file("q4");
  Outcome outcome = run("quantize " + demo + " " + q4 + " --recipe q4 --measure-tokens 2048 --json");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const Json manifest = Json::parse(outcome.out);
  EXPECT_EQ(manifest["measurements"][0]["self_sampled"], true);
  EXPECT_GT(manifest["measurements"][0]["kld"]["mean"].get<double>(), 0);
  EXPECT_EQ(manifest, read_json_file(q4 + "/assay.json"));

  outcome = run("inspect " + q4 + " --verify");
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("5.000 linear"));
  EXPECT_THAT(outcome.out, HasSubstr("kernel khq4"));

  outcome = run("inspect " + q4 + " --json --tensors");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const Json inspected = Json::parse(outcome.out);
  EXPECT_EQ(inspected["formats"]["khq4"]["tensors"], 29);
  EXPECT_EQ(inspected["tensor_list"].size(), inspected["tensors"]);

  outcome = run("eval " + q4 + " --text self --max-tokens 2048 --json --reference " + demo);
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_GT(Json::parse(outcome.out)["kld"]["mean"].get<double>(), 0);

  const std::string gate = "gate " + q4 + " --reference " + demo + " --text self --max-tokens 2048";
  EXPECT_EQ(run(gate + " --max-kld 10 --max-ppl-increase 1000%").code, 0);
  outcome = run(gate + " --max-kld 0.000001");
  EXPECT_EQ(outcome.code, 3) << outcome.error;

  outcome = run("convert " + q4 + " " + folder.file("lattice") + " --container lattice");
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  const Outcome a = run("logits " + q4 + " --ids 1,2,3 --json"),
                b = run("logits " + folder.file("lattice") + " --ids 1,2,3 --json");
  EXPECT_EQ(a.code, 0) << a.error;
  EXPECT_EQ(a.out, b.out);
}

TEST_F(Program, AGgufFileIsOneFileOrAFolderWithItsManifest) {
  const std::string file = folder.file("demo.gguf");
  Outcome outcome = run("convert " + demo + " " + file + " --container gguf");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("demo.gguf: 46 tensors"));
  const std::string ids = " --ids 1,2,3 --json";
  EXPECT_EQ(run("logits " + file + ids).out, run("logits " + demo + ids).out);
  const std::string chat = " --chat --prompt 'The city of' --max-tokens 4 --temperature 0";
  EXPECT_EQ(run("run " + file + chat).out, run("run " + demo + chat).out);
  expect_error("convert " + demo + " " + file + " --container gguf", {"demo.gguf", "exists already"});

  const std::string measured = " --recipe q8 --measure-tokens 2048 --container gguf";
  outcome = run("quantize " + file + " " + folder.file("q8") + measured);
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(run("inspect " + folder.file("q8") + " --verify").code, 0);
  EXPECT_EQ(run("audit " + folder.file("q8") + " --against " + demo).code, 0);
  outcome = run("quantize " + demo + " " + folder.file("q8.gguf") + measured);
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("a lone file has no manifest"));
  EXPECT_TRUE(test::read_bytes(folder.file("q8.gguf")) ==
              test::read_bytes(folder.file("q8") + "/model.gguf"));
  expect_error("quantize " + demo + " " + folder.file("no.gguf") + " --recipe mlx4 --container gguf",
               {"tensor", "GGUF has no mlx4"});
}

TEST_F(Program, RunPrintsOnlyTheText) {
  const std::string arguments =
      "run " + demo + " --prompt 'The city of London is' --max-tokens 8 --temperature 0";
  const Outcome outcome = run(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("the largest city in the world"));
  EXPECT_EQ(run(arguments).out, outcome.out);
}

TEST_F(Program, ParityAgreesWithTheReferenceAndFindsAPlantedToken) {
  const std::string reference = test::project("tests/data/tiny/eval.json");
  Outcome outcome = run("parity " + demo + " --reference " + reference);
  EXPECT_EQ(outcome.code, 0) << outcome.out << outcome.error;
  Json planted = read_json_file(reference);
  Json& generation = planted["generations"][0];
  generation["new_ids"][2] = generation["new_ids"][2].get<int>() + 1;
  generation["top2_margins"][2] = 1.0;
  test::write_bytes(folder.file("planted.json"), planted.dump());
  outcome = run("parity " + demo + " --reference " + folder.file("planted.json"));
  EXPECT_EQ(outcome.code, 1) << outcome.out;
  EXPECT_THAT(outcome.out, HasSubstr("MISMATCH"));
}

}  // namespace
}  // namespace assay
