#include <gtest/gtest.h>

#include <string>

#include "assay/base/json.h"
#include "tests/processor_time.h"

namespace assay {
namespace {

TEST(Json, SiblingsAreReadInLinearTime) {
  std::string members = "{\"x\":0", items = "[0";
  for (int i = 0; i < 40000; ++i) {
    members += ",\"" + std::to_string(i) + "\":{}";
    items += ",{}";
  }
  test::expect_quick(
      [&] {
        EXPECT_EQ(parse_json(members + "}", "x").size(), 40001U);
        EXPECT_EQ(parse_json(items + "]", "x").size(), 40001U);
      },
      1);
}

TEST(Json, WhatIsReadIsWhatWasWritten) {
  const std::string text = R"({"a":[1,-2,3.5,true,null,"x\u0000"],"b":{"c":[],"d":{}},"e":[[1],{"f":[{}]}]})";
  EXPECT_EQ(parse_json(text, "x").dump(), text);
  EXPECT_TRUE(parse_json("7", "x").is_number_unsigned());
  EXPECT_EQ(parse_json("[[[]]]", "x", {.depth = 3}).dump(), "[[[]]]");
}

}  // namespace
}  // namespace assay
