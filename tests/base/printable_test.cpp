#include "assay/base/printable.h"

#include <gtest/gtest.h>

#include "assay/base/json_text.h"

namespace assay {
namespace {

TEST(Printable, NothingThatATerminalObeysComesThrough) {
  EXPECT_EQ(printable("a\nb\r\tc"), "a\\nb\\r\\tc");
  EXPECT_EQ(printable("\x1b[2K"), "\\x1b[2K");
  EXPECT_EQ(printable(std::string("\0\x07\x7f", 3)), "\\x00\\x07\\x7f");
  EXPECT_EQ(printable("\u009b31m \u0085"), "\\u{009b}31m \\u{0085}");                        // C1
  EXPECT_EQ(printable("\u202e\u202a\u2066\u2069"), "\\u{202e}\\u{202a}\\u{2066}\\u{2069}");  // bidirectional
  EXPECT_EQ(printable("\u200e\u2028\u2029\ufeff\U000E0041"),
            "\\u{200e}\\u{2028}\\u{2029}\\u{feff}\\u{e0041}");
  EXPECT_EQ(printable("\xff\xc3("), "\\xff\\xc3(");         // no UTF-8
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(printable("cut \xe2\x82"), "cut \\xe2\\x82");
}

TEST(Printable, TextStaysAsItIs) {
  for (const char* text :
       {"", "plain", "Größe 数 𝛑 \u0e01\u0e33", "e\u0301", "\u0915\u094d\u200d\u0937", "\\x1b"})
    EXPECT_EQ(printable(text), text);
  EXPECT_EQ(printable_lines("one\ttwo\nthree\r\x1b"), "one\ttwo\nthree\\r\\x1b");
}

TEST(JsonText, AnyBytesMakeValidJson) {
  const OrderedJson json = {{"path", "bad\xff"}, {"name", "\u202e\u009b\x1b\x7f é €"}};
  const std::string text = json_text(json);
  for (const char* raw : {"\xff", "\u202e", "\u009b", "\x1b", "\x7f"})
    EXPECT_EQ(text.find(raw), std::string::npos) << text;
  const Json read = Json::parse(text);
  EXPECT_EQ(read["path"], "bad\ufffd");
  EXPECT_EQ(read["name"], "\u202e\u009b\x1b\x7f é €");  // escaped, not lost
  EXPECT_EQ(json_text(Json::array({1, 2}), 1), "[\n 1,\n 2\n]");
}

}  // namespace
}  // namespace assay
