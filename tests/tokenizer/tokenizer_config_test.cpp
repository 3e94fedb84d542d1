// tokenizer_config.json, and how a folder's files are put together.
#include "assay/tokenizer/tokenizer_config.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "tests/support.h"
#include "tests/tokenizer/small_tokenizer.h"

namespace assay {
namespace {

using test::Ids;
using test::load_json;
using test::small_tokenizer;

TEST(TokenizerConfig, TokensAreStringsOrObjects) {
  const TokenizerPtr tokenizer =
      load_json(small_tokenizer(),
                {{"bos_token", "<s>"}, {"eos_token", {{"content", "</s>"}}}, {"add_bos_token", true}});
  EXPECT_EQ(tokenizer->bos, 261);
  EXPECT_TRUE(tokenizer->adds_bos);
  EXPECT_EQ(tokenizer->bos_text, "<s>");
  EXPECT_EQ(tokenizer->eos_text, "</s>");
  EXPECT_TRUE(tokenizer->chat_template.empty());
}

TEST(TokenizerConfig, EveryTokenItKnowsIsFoundInText) {
  Json config;
  config["added_tokens_decoder"] = {{"263", {{"content", "[X]"}, {"special", false}}}};
  config["additional_special_tokens"] = {"he"};
  config["extra_special_tokens"] = {{"image", "ab"}};
  const TokenizerPtr tokenizer = load_json(small_tokenizer(), config);
  EXPECT_EQ(tokenizer->encode("tthe[X]ab"), (Ids{'t', 't', 256, 263, 259}));
  EXPECT_TRUE(tokenizer->is_special(256));
  EXPECT_TRUE(tokenizer->is_special(259));
  EXPECT_FALSE(tokenizer->is_special(263));
  EXPECT_EQ(tokenizer->vocabulary_size(), 264U);
}

TEST(TokenizerConfig, TheChatTemplateMayBeNamedOrAFileOfItsOwn) {
  Json config = {{"chat_template", "plain"}};
  EXPECT_EQ(load_json(small_tokenizer(), config)->chat_template, "plain");
  config["chat_template"] = {{{"name", "tool_use"}, {"template", "tools"}},
                             {{"name", "default"}, {"template", "talk"}}};
  EXPECT_EQ(load_json(small_tokenizer(), config)->chat_template, "talk");
  const TokenizerPtr tokenizer = load_tokenizer({{"tokenizer.json", small_tokenizer().dump()},
                                                 {"tokenizer_config.json", config.dump()},
                                                 {"chat_template.jinja", "file"}},
                                                "model");
  EXPECT_EQ(tokenizer->chat_template, "file");
}

TEST(TokenizerConfig, ContradictionsAndUnsupportedOptionsAreRefused) {
  const auto refuse = [](const Json& config, const char* named) {
    EXPECT_ERROR(load_json(small_tokenizer(), config), "model", named);
  };
  refuse({{"add_eos_token", true}}, "add_eos_token");
  refuse({{"add_bos_token", true}}, "bos_token");
  refuse({{"add_bos_token", "yes"}}, "add_bos_token");
  refuse({{"pad_token", "[PAD]"}}, "[PAD]");
  refuse({{"eos_token", 7}}, "eos_token");
  refuse({{"added_tokens_decoder", {{"x", {{"content", "[X]"}}}}}}, "\"x\"");
  refuse({{"added_tokens_decoder", {{"-3", {{"content", "[X]"}}}}}}, "\"-3\"");
  refuse({{"added_tokens_decoder", {{"97", {{"content", "[X]"}}}}}}, "same id 97");
  refuse({{"added_tokens_decoder", "x"}}, "added_tokens_decoder");
  refuse({{"chat_template", {{{"name", "tool_use"}, {"template", "tools"}}}}}, "default");
  refuse({{"chat_template", 3}}, "chat_template");
  refuse({{"chat_template", std::string((1u << 20) + 1, 'x')}}, "1048577");
  refuse(Json::array(), "not a JSON object");
}

TEST(TokenizerConfig, AFolderWithoutATokenizerIsAnError) {
  EXPECT_ERROR(load_tokenizer({{"config.json", "{}"}}, "model"), "model: no tokenizer", "tokenizer.json");
  EXPECT_ERROR(load_tokenizer({{"vocab.json", "{}"}}, "model"), "model: no tokenizer");
  EXPECT_ERROR(load_tokenizer({{"tokenizer.json", "{"}}, "model"), "model/tokenizer.json");
}

}  // namespace
}  // namespace assay
