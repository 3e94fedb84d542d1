// What is read from tokenizer.json, and what is refused rather than approximated.
#include "assay/tokenizer/tokenizer_json.h"

#include <gmock/gmock.h>

#include <functional>

#include "assay/base/error.h"
#include "tests/support.h"
#include "tests/tokenizer/small_tokenizer.h"

namespace assay {
namespace {

using test::Ids;
using test::load_json;
using test::small_tokenizer;

Ids encode(const Json& json, const std::string& text) {
  return load_json(json)->encode(text);
}

TEST(TokenizerJson, MergesWordsAndFindsAddedTokens) {
  const TokenizerPtr tokenizer = load_json(small_tokenizer());
  EXPECT_EQ(tokenizer->encode("the the ababab"), (Ids{'t', 256, 258, ' ', 260, 259}));
  EXPECT_EQ(tokenizer->encode("<s>he</s>"), (Ids{261, 256, 262}));
  EXPECT_EQ(tokenizer->encode(""), Ids{});
  EXPECT_EQ(tokenizer->vocabulary_size(), 263U);
  EXPECT_EQ(tokenizer->find("he"), 256);
  EXPECT_EQ(tokenizer->find("nobody"), std::nullopt);
  EXPECT_TRUE(tokenizer->is_special(261));
  EXPECT_FALSE(tokenizer->is_special(256));
  EXPECT_FALSE(tokenizer->is_special(-1));
  EXPECT_FALSE(tokenizer->is_special(9999));
}

TEST(TokenizerJson, DecodesBytesAndSkipsSpecialTokens) {
  const TokenizerPtr tokenizer = load_json(small_tokenizer());
  EXPECT_EQ(tokenizer->decode(Ids{261, 256, 258, 0xC3, 262}), "<s>he the\xC3</s>");
  EXPECT_EQ(tokenizer->decode(Ids{261, 256, 258, 0xC3, 262}, true), "he the\xC3");
  EXPECT_ERROR(tokenizer->decode(Ids{263}), "model/tokenizer.json", "263");
  EXPECT_ERROR(tokenizer->decode(Ids{-1}), "model/tokenizer.json", "-1");
}

TEST(TokenizerJson, InvalidUtf8ComesBackByteForByte) {
  const TokenizerPtr tokenizer = load_json(small_tokenizer());
  EXPECT_EQ(tokenizer->encode("he\xFF\xFE he\xC3"), (Ids{256, 0xFF, 0xFE, ' ', 256, 0xC3}));
  EXPECT_EQ(tokenizer->encode("\xED\xA0\x80"), (Ids{0xED, 0xA0, 0x80}));  // a surrogate
  EXPECT_EQ(tokenizer->encode("\xC0\x80"), (Ids{0xC0, 0x80}));            // an overlong zero
  std::string all;
  for (int i = 0; i < 65536; ++i) all += static_cast<char>((i * 2654435761U) >> 16);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(all)), all);
}

TEST(TokenizerJson, VeryLongWordsAreEncoded) {
  const TokenizerPtr tokenizer = load_json(small_tokenizer());
  std::string word;
  for (int i = 0; i < 100000; ++i) word += "ab";
  EXPECT_EQ(tokenizer->encode(word), Ids(50000, 260));
  EXPECT_EQ(tokenizer->encode(std::string(200000, ' ') + "x").size(), 200001U);
}

TEST(TokenizerJson, AByteWithoutATokenIsAnErrorOrUnknown) {
  Json json = small_tokenizer();
  json["model"]["vocab"].erase("Z");
  EXPECT_EQ(encode(json, "he"), Ids{256});
  EXPECT_ERROR(encode(json, "heZZ"), "model/tokenizer.json", "Z", "unk_token");
  json["model"]["unk_token"] = "?";
  EXPECT_EQ(encode(json, "heZZ"), (Ids{256, '?', '?'}));
  json["model"]["fuse_unk"] = true;
  EXPECT_EQ(encode(json, "heZZaZ"), (Ids{256, '?', 'a', '?'}));
  json["model"]["unk_token"] = "absent";
  EXPECT_ERROR(encode(json, ""), "unk_token", "absent");
  json = small_tokenizer();
  json["model"]["vocab"].erase(spell_byte(0xFF));
  EXPECT_ERROR(encode(json, "\xFF"), "0xFF");
}

TEST(TokenizerJson, TheTemplateTellsWhetherBosIsAdded) {
  Json json = small_tokenizer();
  EXPECT_FALSE(load_json(json)->adds_bos);
  const Json bos = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json known = {{"<s>", {{"id", "<s>"}, {"ids", {261}}, {"tokens", {"<s>"}}}}};
  const Json processor = {{"type", "TemplateProcessing"}, {"single", {bos, text}}, {"special_tokens", known}};
  json["post_processor"] = {{"type", "Sequence"}, {"processors", {{{"type", "ByteLevel"}}, processor}}};
  EXPECT_TRUE(load_json(json)->adds_bos);
  EXPECT_EQ(load_json(json)->bos, 261);
  EXPECT_EQ(encode(json, "he"), Ids{256});  // the caller puts it in front
  EXPECT_FALSE(load_json(json, {{"add_bos_token", false}})->adds_bos);
  json["post_processor"] = processor;
  EXPECT_TRUE(load_json(json)->adds_bos);
  json["post_processor"]["single"] = {text, bos};
  EXPECT_ERROR(load_json(json), "behind the text");
  json["post_processor"]["single"] = {bos, bos, text};
  EXPECT_ERROR(load_json(json), "more than one token");
  json["post_processor"] = {{"type", "RobertaProcessing"}};
  EXPECT_ERROR(load_json(json), "RobertaProcessing");
}

TEST(TokenizerJson, EveryUnsupportedOptionIsNamed) {
  const auto refuse = [](const std::function<void(Json&)>& change, const char* named) {
    Json json = small_tokenizer();
    change(json);
    EXPECT_ERROR(load_json(json), "model/tokenizer.json", named);
  };
  refuse([](Json& json) { json["normalizer"] = {{"type", "NFKC"}}; }, "NFKC");
  refuse([](Json& json) { json["normalizer"] = {{"type", "Prepend"}, {"prepend", "x"}}; }, "other than NFC");
  refuse([](Json& json) { json["normalizer"] = {{"type", "Sequence"}}; }, "normalizers");
  refuse(
      [](Json& json) {
        json["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "a"}}}};
      },
      "Replace");
  refuse(
      [](Json& json) {
        json["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", ""}};
      },
      "empty pattern");
  refuse([](Json& json) { json["pre_tokenizer"] = {{"type", "Metaspace"}}; }, "Metaspace");
  refuse([](Json& json) { json["pre_tokenizer"] = nullptr; }, "pre-tokenizer");
  refuse([](Json& json) { json["pre_tokenizer"] = {{"type", "Digits"}}; }, "ByteLevel");
  refuse([](Json& json) { json["pre_tokenizer"] = {{"type", "Sequence"}}; }, "pretokenizers");
  refuse(
      [](Json& json) {
        json["pre_tokenizer"] = {{"type", "Sequence"},
                                 {"pretokenizers", {{{"type", "ByteLevel"}}, {{"type", "Digits"}}}}};
      },
      "behind ByteLevel");
  refuse(
      [](Json& json) {
        json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Often"}};
      },
      "Often");
  refuse(
      [](Json& json) {
        json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", "a"}, {"behavior", "Removed"}};
      },
      "pattern");
  refuse([](Json& json) { json["decoder"] = {{"type", "WordPiece"}}; }, "WordPiece");
  refuse([](Json& json) { json["model"]["type"] = "Unigram"; }, "Unigram");
  refuse([](Json& json) { json["model"]["dropout"] = 0.1; }, "dropout");
  refuse([](Json& json) { json["model"]["continuing_subword_prefix"] = "##"; }, "continuing_subword_prefix");
  refuse([](Json& json) { json["model"]["end_of_word_suffix"] = "</w>"; }, "end_of_word_suffix");
  refuse([](Json& json) { json["model"]["byte_fallback"] = true; }, "byte_fallback");
  refuse([](Json& json) { json.erase("model"); }, "\"model\"");
  refuse([](Json& json) { json["model"].erase("merges"); }, "\"merges\"");
  refuse([](Json& json) { json["model"]["vocab"] = "x"; }, "vocabulary");
}

TEST(TokenizerJson, BrokenVocabulariesAndMergesAreRefused) {
  const auto refuse = [](const std::function<void(Json&)>& change, const char* named) {
    Json json = small_tokenizer();
    change(json);
    EXPECT_ERROR(load_json(json), "model/tokenizer.json", named);
  };
  refuse([](Json& json) { json["model"]["vocab"]["he"] = -1; }, "-1");
  refuse([](Json& json) { json["model"]["vocab"]["he"] = 1.5; }, "1.5");
  refuse([](Json& json) { json["model"]["vocab"]["he"] = 4294967296; }, "4294967296");
  refuse([](Json& json) { json["model"]["vocab"]["he"] = 2147483647; }, "far beyond");
  // 261 tokens: ids below 4 * 261 + 65536 are legal.
  refuse([](Json& json) { json["model"]["vocab"]["he"] = 66580; }, "far beyond");
  Json sparse = small_tokenizer();
  sparse["model"]["vocab"]["he"] = 66579;
  EXPECT_EQ(load_json(sparse)->vocabulary_size(), 66580U);
  refuse([](Json& json) { json["model"]["vocab"]["he"] = 97; }, "same id 97");
  refuse([](Json& json) { json["model"]["merges"][1] = "onlyone"; }, "merge 1");
  refuse([](Json& json) { json["model"]["merges"][1] = "a b c"; }, "merge 1");
  refuse([](Json& json) { json["model"]["merges"][1] = Json{"a", 1}; }, "merge 1");
  refuse([](Json& json) { json["model"]["merges"][1] = "a x"; }, "\"ax\"");
  refuse([](Json& json) { json["model"]["merges"] = Json::object(); }, "not a list");
  refuse([](Json& json) { json["added_tokens"] = Json::object(); }, "added_tokens");
  refuse([](Json& json) { json["added_tokens"][0]["id"] = 97; }, "same id 97");
  refuse([](Json& json) { json["added_tokens"][0]["id"] = 2000000000; }, "far beyond");
  refuse([](Json& json) { json["added_tokens"][0]["content"] = ""; }, "empty");
  refuse([](Json& json) { json["added_tokens"][0]["content"] = "he"; }, "\"he\"");
  refuse([](Json& json) { json["added_tokens"][1]["content"] = "<s>"; }, "twice");
}

TEST(TokenizerJson, TheOlderPairOfFilesNeedsAClassThatIsKnown) {
  const Json json = small_tokenizer();
  std::string merges = "#version: 0.2\r\n";
  for (const Json& merge : json["model"]["merges"]) merges += merge.get<std::string>() + "\n";
  const auto load = [&](const Json& config) {
    return load_tokenizer({{"vocab.json", json["model"]["vocab"].dump()},
                           {"merges.txt", merges},
                           {"added_tokens.json", R"({"<s>": 261, "extra": 262})"},
                           {"tokenizer_config.json", config.dump()}},
                          "model");
  };
  const Json gpt2 = {{"tokenizer_class", "GPT2Tokenizer"}, {"eos_token", "<s>"}};
  EXPECT_EQ(load(gpt2)->encode("the 12<s>extra"), (Ids{'t', 256, ' ', '1', '2', 261, 262}));
  EXPECT_TRUE(load(gpt2)->is_special(261));
  EXPECT_FALSE(load(gpt2)->is_special(262));
  Json prefixed = gpt2;
  prefixed["add_prefix_space"] = true;
  EXPECT_EQ(load(prefixed)->encode("the"), Ids{258});
  // Qwen2's pattern cuts off single digits, and its normalizer composes.
  EXPECT_EQ(load({{"tokenizer_class", "Qwen2TokenizerFast"}})->encode("e\u0301"), (Ids{0xC3, 0xA9}));
  EXPECT_ERROR(load({{"tokenizer_class", "CodeGenTokenizer"}}), "CodeGenTokenizer");
  EXPECT_ERROR(load(Json::object()), "must name the class");
}

}  // namespace
}  // namespace assay
