// Sampling, prompts and streamed text where the bundled model's tokenizer has nothing to show.
#include "assay/runtime/prompt.h"

#include <gmock/gmock.h>

#include "assay/runtime/sampling.h"
#include "assay/runtime/text_stream.h"
#include "tests/tokenizer/small_tokenizer.h"

namespace assay {
namespace {

using test::Ids;

TEST(Sampling, TheMarginIsTakenToTheBestBeforeToo) {
  EXPECT_EQ(top_two(std::vector<float>{1, 5}).margin, 4);
  EXPECT_EQ(top_two(std::vector<float>{-3, -2, 7}).margin, 9);
}

TEST(Sampling, TopPIsAShareOfWhatTopKLeaves) {
  const std::vector<float> logits = {std::log(4.0f), std::log(3.0f), std::log(2.0f), std::log(1.0f)};
  Sampler sampler({.temperature = 1, .top_k = 2, .top_p = 0.5, .seed = 3});  // 4/7 is enough, 4/10 were not
  for (int i = 0; i < 200; ++i) ASSERT_EQ(sampler.pick(logits).id, 0);
}

TEST(Prompt, BeginningOfTextGoesInFrontWhereTheModelDemandsIt) {
  const Json json = test::small_tokenizer();
  const auto encode = [&](bool demanded) {
    return encode_prompt(*test::load_json(json, {{"bos_token", "<s>"}, {"add_bos_token", demanded}}),
                         "he</s>");
  };
  EXPECT_EQ(encode(true), (Ids{261, 256, 262}));
  EXPECT_EQ(encode(false), (Ids{256, 262}));
}

TEST(TextStream, OnlyTheStartOfATextLosesItsSpace) {
  const auto replace = [](const char* pattern, const char* content) {
    return Json{{"type", "Replace"}, {"pattern", {{"String", pattern}}}, {"content", content}};
  };
  Json json = test::small_tokenizer();
  json["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers", {{{"type", "Prepend"}, {"prepend", "\u2581"}}, replace(" ", "\u2581")}}};
  json["pre_tokenizer"] = nullptr;
  json["decoder"] = {{"decoders",
                      {replace("\u2581", " "),
                       {{"type", "ByteFallback"}},
                       {{"type", "Fuse"}},
                       {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}};
  json["model"]["vocab"]["\u2581"] = 263;
  const TokenizerPtr tokenizer = test::load_json(json);
  TextStream stream(*tokenizer, std::nullopt), behind(*tokenizer, 'x');
  EXPECT_EQ(stream.add(263), "");
  EXPECT_EQ(stream.add('x') + stream.add(263) + stream.add(256), "x he");
  EXPECT_EQ(behind.add(263) + behind.add(261) + behind.add(263), "  ");  // <s> has no text, and moves on
}

}  // namespace
}  // namespace assay
