#include "assay/measure/ledger.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "assay/measure/events.h"
#include "tests/support.h"

namespace assay {
namespace {

TEST(Ledger, AppendsAndKeepsEverythingElse) {
  const test::TemporaryFolder folder;
  test::write_bytes(folder.file("assay.json"),
                    R"({"zebra": 1, "measurements": [{"ppl": 3}], "apple": [1, 2]})");
  append_measurement(folder.path().string(), {{"ppl", 4}});
  append_measurement(folder.path().string(), {{"ppl", 5}});
  const Json manifest = read_json_file(folder.file("assay.json"));
  ASSERT_EQ(manifest["measurements"].size(), 3u);
  EXPECT_EQ(manifest["measurements"][2]["ppl"], 5);
  EXPECT_EQ(manifest["apple"][1], 2);
  const std::string text = test::read_bytes(folder.file("assay.json"));
  EXPECT_LT(text.find("zebra"), text.find("apple")) << "keys keep their order";
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1)
      << "no temporary file is left";
}

TEST(Ledger, StartsTheListWhereThereIsNone) {
  const test::TemporaryFolder folder;
  test::write_bytes(folder.file("assay.json"), "{}");
  append_measurement(folder.path().string(), {{"ppl", 4}});
  EXPECT_EQ(read_json_file(folder.file("assay.json"))["measurements"].size(), 1u);
}

TEST(Ledger, RefusesWhatIsNoManifestAndLeavesItAlone) {
  const test::TemporaryFolder folder;
  EXPECT_ERROR(append_measurement(folder.path().string(), {{"ppl", 4}}), "assay.json");
  for (const char* text : {"[]", "{", R"({"measurements": 3})", R"({"a": 1, "a": 2})"}) {
    test::write_bytes(folder.file("assay.json"), text);
    EXPECT_ERROR(append_measurement(folder.path().string(), {{"ppl", 4}}), "assay.json");
    EXPECT_EQ(test::read_bytes(folder.file("assay.json")), text);
  }
}

TEST(Events, AreOneLineEach) {
  EXPECT_EQ(event_line({"tiny \"x\"\n", 37.25, 3.5, 100, 4, 1.2346}),
            "@@lattice {\"ev\":\"perplexity\",\"label\":\"tiny "
            "\\\"x\\\"\\n\",\"ppl\":37.25,\"nll\":3.5,\"tokens\":100,"
            "\"windows\":4,\"ms\":1235}");
  EXPECT_EQ(ready_event_line(), "@@lattice {\"ev\":\"ready\"}");
  EXPECT_EQ(error_event_line("a\xff"), "@@lattice {\"ev\":\"error\",\"msg\":\"a\xef\xbf\xbd\"}");
}

}  // namespace
}  // namespace assay
