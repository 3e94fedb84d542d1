// Every option of every command that takes a number: one parser, one line, exit code 2.
#include <regex>

#include "tests/app/program.h"

namespace assay {
namespace {

using test::Outcome;
using testing::HasSubstr;

struct NumericOption {
  std::string name, type;
};

class Numbers : public test::Program, public testing::WithParamInterface<const char*> {
 protected:
  /// As the help lists them; `kind` matches their types.
  std::vector<NumericOption> options(const std::string& command, const std::string& kind) const {
    const std::string help = run(command + " --help").out;
    const std::regex line("\n  (--[a-z-]+) (" + kind + ")(?=[ \n:=])");
    std::vector<NumericOption> found;
    for (std::sregex_iterator at(help.begin(), help.end(), line), end; at != end; ++at)
      found.push_back({(*at)[1], (*at)[2]});
    return found;
  }
};

TEST_P(Numbers, WhatIsNoNumberWithinBoundsIsAUsageError) {
  const std::string command = GetParam();
  EXPECT_THAT(options(command, "UINT|INT|FLOAT"), testing::IsEmpty())
      << "registered by CLI11's own conversion: use app/numbers.h";
  const std::vector<NumericOption> numeric = options(command, "N|N,\\.\\.\\.|X|SIZE|P%");
  EXPECT_THAT(numeric, testing::Not(testing::IsEmpty()));
  for (const NumericOption& option : numeric)
    for (const char* value : {"", "nan", "-1", "18446744073709551616", "5x"}) {
      const Outcome outcome = run(command + " " + option.name + " '" + value + "'");
      EXPECT_EQ(outcome.code, 2) << option.name << " " << value;
      EXPECT_THAT(outcome.error, HasSubstr(option.name)) << value;
      EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
      EXPECT_EQ(outcome.out, "");
    }
}
INSTANTIATE_TEST_SUITE_P(Commands, Numbers,
                         testing::Values("quantize", "allocate", "audit", "inspect", "eval", "compare",
                                         "gate", "run", "parity", "bench", "logits", "convert", "formats",
                                         "recipes", "routing", "demo", "pack-experts", "ablate calibration",
                                         "ablate verdict"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::erase_if(name, [](char c) { return c == ' ' || c == '-'; });
                           return name;
                         });

TEST_F(Numbers, BoundsAndUnitsAreSaid) {
  EXPECT_THAT(run("formats --threads 0").error,
              HasSubstr("--threads: \"0\" where a whole number from 1 to 4096"));
  EXPECT_THAT(run("run m --prompt x --top-p 1.5").error, HasSubstr("to 1"));
  EXPECT_THAT(run("quantize m o --damping inf").error, HasSubstr("a number from 0 to 1"));
  EXPECT_THAT(run("eval m --text t --seed 18446744073709551615").error, HasSubstr("m: no such file"));
  for (const char* size : {"0", "0GiB", "2Gi", "1.5GB", "MB", "16777216T", "2 XB"})
    EXPECT_EQ(run("run m --prompt x --expert-cache '" + std::string(size) + "'").code, 2) << size;
  for (const char* size : {"5000", "5000b", "60KB", "1mib", "2 GiB", "3G"})
    EXPECT_EQ(run("run m --prompt x --expert-cache '" + std::string(size) + "'").code, 1) << size;
  for (const char* list : {"1,,2", "1,", ",", "1,-2", "1 2"})
    EXPECT_EQ(run("ablate calibration m --calib c --text t --out o --seeds '" + std::string(list) + "'").code,
              2)
        << list;
  EXPECT_EQ(run("gate m --reference r --text t --max-ppl-increase nan%").code, 2);
  for (const char* text : {"''", "%", "two", "-1%", "inf", "2%%", "1e999"})
    EXPECT_EQ(run(std::string("gate m --reference r --text t --max-ppl-increase ") + text).code, 2) << text;
  for (const char* text : {"2%", "0.5"})
    EXPECT_EQ(run(std::string("gate m --reference r --text t --max-ppl-increase ") + text).code, 1) << text;
}

TEST_F(Numbers, AnEmptyValueIsNoAbsentOption) {
  for (const char* arguments : {"eval m --text ''", "quantize m o --recipe q4 --calib ''", "inspect ''",
                                "allocate m --target-bpw 4 --sensitivities ''", "logits m --ids ''"})
    EXPECT_EQ(run(arguments).code, 2) << arguments;
  EXPECT_EQ(run("run /nowhere --prompt ''").code, 1);  // an empty prompt has a meaning
}

}  // namespace
}  // namespace assay
