// What the program writes and where: standard output that fails, outputs that are no regular files, text from
// outside.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <fstream>

#include "assay/base/json.h"
#include "tests/app/program.h"
#include "tests/app/running.h"

namespace assay {
namespace {

using test::Outcome;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

class ProgramOutput : public test::Program {
 protected:
  /// A copy of the demo model under another name.
  std::string copy(const std::string& name) const {
    fs::copy(demo, folder.path() / name);
    return folder.file(name);
  }
  /// The shell's words for the path, whatever bytes it holds.
  static std::string quoted(const std::string& path) { return "'" + path + "'"; }
  void edit_config(const std::string& model, const std::string& key, const Json& value) const {
    Json config = Json::parse(test::read_bytes(model + "/config.json"));
    config[key] = value;
    test::write_bytes(model + "/config.json", config.dump());
  }
  void expect_no_temporaries() const {
    for (const auto& entry : fs::directory_iterator(folder.path()))
      EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr("assay-tmp")));
  }
  int status_of(const std::string& command) const {
    const int status = std::system(("{ " + command + "; } 2>" + folder.file("stderr")).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
};

TEST_F(ProgramOutput, StandardOutputThatFailsIsAnErrorOfEveryCommand) {
  test::write_bytes(folder.file("t.txt"), std::string(400, 'a') + " the city of London\n");
  const std::string text = " --text " + folder.file("t.txt") + " --max-tokens 64 --window 32 --stride 16";
  const std::array commands = {std::string("--help"),
                               std::string("--version"),
                               std::string("quantize --help"),
                               std::string("formats"),
                               std::string("formats --json"),
                               std::string("recipes"),
                               std::string("recipes --show q4"),
                               "inspect " + demo,
                               "inspect " + demo + " --json",
                               "eval " + demo + text,
                               "eval " + demo + text + " --json",
                               "eval " + demo + text + " --events",
                               "logits " + demo + " --ids 1,2 --json",
                               "run " + demo + " --prompt The --max-tokens 3",
                               "run " + demo + " --prompt The --max-tokens 3 --json",
                               "quantize " + demo + " " + folder.file("o") + " --recipe q4 --dry-run"};
  // A descriptor that is open for reading alone fails everywhere; not every container has a full device.
  std::vector<std::pair<std::string, std::string>> sinks = {{" 1</dev/null", "Bad file descriptor"}};
  if (fs::is_character_file("/dev/full")) sinks.emplace_back(" >/dev/full", "No space left on device");
  for (const auto& [sink, reason] : sinks)
    for (const std::string& command : commands) {
      EXPECT_EQ(status_of(test::program() + " " + command + sink), 1) << command << sink;
      const std::string error = test::read_bytes(folder.file("stderr"));
      EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
      EXPECT_THAT(error, HasSubstr("standard output: cannot write: " + reason));
    }
  EXPECT_EQ(status_of(test::program() + " recipes >&-"), 1);
  EXPECT_THAT(test::read_bytes(folder.file("stderr")), HasSubstr("standard output: cannot write"));
}

TEST_F(ProgramOutput, AReaderThatLeavesIsNoError) {
  EXPECT_EQ(status_of(test::program() + " formats --json | true"), 0);
  EXPECT_EQ(test::read_bytes(folder.file("stderr")), "");
}

TEST_F(ProgramOutput, ClosedStandardStreamsAreNotTakenByFiles) {
  const std::string model = folder.file("model");
  EXPECT_EQ(status_of(test::program() + " quantize " + demo + " " + model +
                      " --recipe q8 --measure none <&- >&- 2>&-"),
            1);  // made, but what there was to say could not be said
  EXPECT_EQ(run("inspect " + model + " --verify").code, 0);
}

TEST_F(ProgramOutput, PipesAndLinksStayWhatTheyAre) {
  const std::string pipe = folder.file("pipe"), link = folder.file("link.npy");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  test::write_bytes(folder.file("target.npy"), "old");
  fs::create_symlink("target.npy", link);
  const std::string logits = "logits " + demo + " --ids 1,2 --out ";
  EXPECT_EQ(status_of("cat " + pipe + " >" + folder.file("copy") + " & " + test::program() + " " + logits +
                      pipe + " >/dev/null && wait"),
            0);
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_EQ(run(logits + link).code, 0);
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(test::read_bytes(folder.file("target.npy")), test::read_bytes(folder.file("copy")));
  const std::string own_output = folder.file("own-output");  // as /dev/stdout, which not every container has
  fs::create_symlink("/proc/self/fd/1", own_output);
  const Outcome both = run(logits + own_output);
  EXPECT_THAT(both.out, HasSubstr("NUMPY"));
  EXPECT_THAT(both.out, HasSubstr("wrote 2 x"));
  // A device of our own: a program that fails here replaces it.
  const std::string device = folder.file("null");
  if (::mknod(device.c_str(), S_IFCHR | 0600, ::makedev(1, 3)) != 0 || !std::ofstream(device))
    GTEST_SKIP() << "no device can be made here; pipes and links were tested";
  EXPECT_EQ(run(logits + device).code, 0);
  EXPECT_TRUE(fs::is_character_file(device));
}

TEST_F(ProgramOutput, TextFromOutsideStaysOnItsLine) {
  const std::string model = copy("model");
  edit_config(model, "model_type", "qwen3\x1b[2K\nassay: all is well \u202e\u009b");
  const Outcome inspected = run("inspect " + model);
  for (const char* raw : {"\x1b", "\nassay: all is well", "\u202e", "\u009b"}) {
    EXPECT_THAT(inspected.out, Not(HasSubstr(raw)));
    EXPECT_THAT(run("logits " + model + " --ids 1").error, Not(HasSubstr(raw)));
    EXPECT_THAT(run("audit " + model).out, Not(HasSubstr(raw)));
  }
  EXPECT_THAT(inspected.out, HasSubstr("qwen3\\x1b[2K\\nassay: all is well \\u{202e}\\u{009b}"));
  expect_error("logits " + model + " --ids 1", {"\\x1b[2K\\n"});
  expect_error("inspect '" + folder.file("no\nsuch\x1b[2K") + "'", {"no\\nsuch\\x1b[2K"});
  const Outcome usage = run("eval '--x\x1b[2K\ny'");
  EXPECT_EQ(usage.code, 2);
  EXPECT_EQ(std::count(usage.error.begin(), usage.error.end(), '\n'), 1) << usage.error;
  EXPECT_THAT(usage.error, Not(HasSubstr("\x1b")));
}

TEST_F(ProgramOutput, PathsNeedNotBeUtf8) {
  const std::string model = copy("bad\xff"), quoted_model = quoted(model);
  const auto json_of = [&](const std::string& arguments) {
    const Outcome outcome = run(arguments + " --json");
    EXPECT_EQ(outcome.code, 0) << arguments << outcome.error;
    return Json::parse(outcome.out);
  };
  EXPECT_THAT(json_of("inspect " + quoted_model)["path"].get<std::string>(), HasSubstr("bad\ufffd"));
  const std::string out = quoted(folder.file("out\xfe"));
  json_of("quantize " + quoted_model + " " + out + " --recipe q8 --measure-tokens 2048");
  json_of("convert " + out + " " + quoted(folder.file("lattice\xfe")) + " --container assay");
  json_of("audit " + out + " --against " + quoted_model);
  test::write_bytes(folder.file("t\xff.txt"), std::string(400, 'a') + " the city of London\n");
  json_of("eval " + out + " --record --max-tokens 64 --window 32 --stride 16 --text " +
          quoted(folder.file("t\xff.txt")));
  EXPECT_EQ(run("inspect " + out + " --verify").code, 0);
  expect_no_temporaries();
}

TEST_F(ProgramOutput, IdsAreAListOrAFileOfAnyKindOfList) {
  std::string many = "5";
  for (int i = 0; i < 149; ++i) many += ",5";
  const std::string logits = "logits " + demo + " --last 1 --json --ids ";
  const Outcome listed = run(logits + many);
  ASSERT_EQ(listed.code, 0) << listed.error;
  test::write_bytes(folder.file("ids.json"), "[" + many + "]\n");
  std::ranges::replace(many, ',', '\n');
  test::write_bytes(folder.file("ids.txt"), many);
  for (const char* name : {"ids.json", "ids.txt"})
    EXPECT_EQ(run(logits + folder.file(name)).out, listed.out) << name;
  expect_error(logits + std::string(300, 'x'), {"xxx", "neither token ids"});
  expect_error(logits + "absent.txt", {"absent.txt", "neither token ids"});
  expect_error(logits + folder.path().string(), {"not a regular file but a folder"});
  test::write_bytes(folder.file("bad.json"), "{\"ids\": [1]}");
  expect_error(logits + folder.file("bad.json"), {"bad.json", "is no token id"});
}

TEST_F(ProgramOutput, PipesAreNoInputs) {
  const std::string pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::string rest = " --max-tokens 64 --window 32 --stride 16";
  expect_error("eval " + demo + " --text " + pipe + rest, {"pipe", "not a regular file but a pipe"});
  expect_error("logits " + demo + " --ids " + pipe, {"a pipe"});
  expect_error("ablate verdict " + pipe, {"a pipe"});
  expect_error("parity " + demo + " --reference " + demo + " --prompts " + pipe, {"a pipe"});
  expect_error("quantize " + demo + " " + folder.file("o") + " --recipe " + pipe + ".json", {"pipe.json"});
  for (const std::string name : {"tokenizer.json", "config.json", "model.safetensors"}) {
    const std::string model = copy("with-" + name);
    fs::remove(model + "/" + name);
    ASSERT_EQ(::mkfifo((model + "/" + name).c_str(), 0600), 0);
    expect_error("logits " + model + " --ids 1", {name, "a pipe"});
  }
}

TEST_F(ProgramOutput, LinksOutOfAModelAreNotCopied) {
  const std::string model = copy("model"), out = folder.file("out");
  test::write_bytes(folder.file("secret.txt"), "a private key");
  fs::create_symlink("../secret.txt", model + "/special_tokens_map.json");
  expect_error("quantize " + model + " " + out + " --recipe q8 --measure none",
               {"special_tokens_map.json: a link out of the directory", "secret.txt"});
  fs::remove(model + "/special_tokens_map.json");
  fs::rename(model + "/model.safetensors", folder.file("elsewhere.safetensors"));
  fs::create_symlink("../elsewhere.safetensors", model + "/model.safetensors");
  expect_error("inspect " + model, {"model.safetensors: a link out of the directory"});
  EXPECT_FALSE(fs::exists(out));
}

/// A calibration that takes longer than any test waits for it.
std::vector<std::string> long_calibration(const std::string& model, const std::string& out,
                                          const std::string& text_file) {
  std::string text;
  for (unsigned i = 0, word = 1; i < 40000; ++i, word = word * 1103515245 + 12345)
    text += std::to_string(word >> 16) + (i % 16 == 15 ? '\n' : ' ');
  test::write_bytes(text_file, text);
  return {"quantize",       model,   out,         "--recipe", "q4", "--method", "gptq", "--calib", text_file,
          "--calib-tokens", "65536", "--measure", "none"};
}

TEST_F(ProgramOutput, AnInterruptedRunLeavesNothing) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const std::string out = folder.file("out");
    test::Running quantize(long_calibration(demo, out, folder.file("text")), folder.file("stderr"));
    ASSERT_TRUE(quantize.reaches([&] { return fs::exists(out + ".calibration/request.json"); }));
    quantize.send(signal);
    EXPECT_EQ(quantize.wait(), 128 + signal);
    expect_no_temporaries();
    EXPECT_FALSE(fs::exists(out));
    EXPECT_THAT(test::read_bytes(folder.file("stderr")), HasSubstr("out.calibration"));
    fs::remove_all(out + ".calibration");
  }
}

TEST_F(ProgramOutput, AnInterruptedDemoLeavesNoFolder) {
  for (const char* keep : {"", "--keep"}) {
    const std::string out = folder.file("out/demo");
    std::vector<std::string> arguments = {"demo", "--recipes", "q4", "--tokens", "1024", "--out", out};
    if (*keep != 0) arguments.push_back(keep);
    test::Running running(arguments, folder.file("stderr"));
    ASSERT_TRUE(running.reaches([&] { return fs::exists(out); }));
    running.send(SIGINT);
    EXPECT_EQ(running.wait(), 128 + SIGINT);
    EXPECT_FALSE(fs::exists(folder.file("out")));
  }
}

TEST_F(ProgramOutput, ATerminalSeesABarThatGoes) {
  if (status_of("script -qec true /dev/null </dev/null >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "script(1) makes no pseudo-terminal here";
  test::write_bytes(folder.file("t.txt"), std::string(400, 'a') + " the city of London\n");
  const std::string command =
      test::program() + " eval " + demo + " --text " + folder.file("t.txt") + " --window 32 --stride 16";
  const auto screen = [&](const std::string& flags) {
    EXPECT_EQ(
        status_of("script -qec '" + command + flags + "' /dev/null </dev/null >" + folder.file("screen")), 0);
    return test::read_bytes(folder.file("screen"));
  };
  const std::string seen = screen("");
  const auto bar = seen.rfind("s left\x1b[K"), gone = seen.rfind("\r\x1b[K"),
             result = seen.find("perplexity");
  EXPECT_THAT(seen, HasSubstr("evaluating ["));
  EXPECT_LT(bar, gone);
  EXPECT_LT(gone, result);
  EXPECT_THAT(screen(" --json"), Not(HasSubstr("\x1b[K")));
}

TEST_F(ProgramOutput, NohupGoesOn) {
  const std::string out = folder.file("out");
  test::Running quantize({"quantize", demo, out, "--recipe", "q4", "--measure-tokens", "2048"},
                         folder.file("stderr"), true);
  ASSERT_TRUE(quantize.reaches([&] {
    return std::ranges::any_of(fs::directory_iterator(folder.path()), [](const auto& entry) {
      return entry.path().filename().string().find(".assay-tmp-") != std::string::npos;
    });
  }));
  quantize.send(SIGHUP);
  EXPECT_EQ(quantize.wait(), 0);
  EXPECT_TRUE(fs::exists(out + "/assay.json"));
}

TEST_F(ProgramOutput, WhatAKilledRunLeftIsSweptByTheNext) {
  const std::string out = folder.file("out");
  {
    test::Running killed(long_calibration(demo, out, folder.file("text")), folder.file("stderr"));
    ASSERT_TRUE(killed.reaches([&] { return fs::exists(out + ".calibration/request.json"); }));
    killed.send(SIGKILL);
    EXPECT_EQ(killed.wait(), -SIGKILL);
  }
  EXPECT_EQ(run("quantize " + demo + " " + out + " --recipe q8 --measure none").code, 0);
  expect_no_temporaries();
}

}  // namespace
}  // namespace assay
