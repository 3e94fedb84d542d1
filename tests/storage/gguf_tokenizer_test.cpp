// The tokenizer metadata of GGUF files as the files of a Hugging Face folder.
#include "assay/storage/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "assay/base/error.h"
#include "assay/storage/gguf.h"
#include "tests/storage/gguf_builder.h"
#include "tests/support.h"

namespace assay {
namespace {

using namespace test;

Sidecars sidecars(const GgufBuilder& builder) {
  const std::string file = builder.build();
  return read_gguf(std::as_bytes(std::span(file)), "x.gguf", nullptr)->sidecars;
}
Json sidecar(const GgufBuilder& builder, const char* name) {
  return Json::parse(sidecars(builder).at(name));
}

TEST(GgufTokenizer, BuildsAByteLevelBpe) {
  const Json json = sidecar(tiny_gguf(), "tokenizer.json");
  EXPECT_EQ(json.at("model").at("type"), "BPE");
  EXPECT_EQ(json.at("model").at("vocab"),
            Json::parse(R"({"<|end|>":0,"<|user|>":1,"<tool>":2,"a":3,"b":4,"c":5,"ab":6,"abc":7})"));
  EXPECT_EQ(json.at("model").at("merges"), Json::array({"a b", "ab c"}));
  ASSERT_EQ(json.at("added_tokens").size(), 3u);
  EXPECT_EQ(json.at("added_tokens").at(1), Json::parse(R"({"id":1,"content":"<|user|>","single_word":false,
    "lstrip":false,"rstrip":false,"normalized":false,"special":true})"));
  EXPECT_EQ(json.at("added_tokens").at(2).at("special"), false);  // user-defined
  EXPECT_EQ(json.at("decoder").at("type"), "ByteLevel");
}

TEST(GgufTokenizer, KnowsWhatPreTokenizersMean) {
  const auto built = [](const char* name) {
    return sidecar(tiny_gguf().set("tokenizer.ggml.pre", string_value(name)), "tokenizer.json");
  };
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  Json bare_byte_level = byte_level;
  bare_byte_level["use_regex"] = false;
  const auto split = [](const char* digits) {
    return Json{{"type", "Split"},
                {"pattern",
                 {{"Regex", std::string(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)") +
                                digits + R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}},
                {"behavior", "Isolated"},
                {"invert", false}};
  };
  const Json digits = {{"type", "Digits"}, {"individual_digits", true}};

  EXPECT_EQ(built("gpt-2").at("pre_tokenizer").at("pretokenizers"), Json::array({byte_level}));
  EXPECT_EQ(built("smollm").at("pre_tokenizer").at("pretokenizers"), Json::array({digits, byte_level}));
  EXPECT_EQ(built("qwen2").at("pre_tokenizer").at("pretokenizers"),
            Json::array({split(R"(\p{N})"), bare_byte_level}));
  EXPECT_EQ(built("llama-bpe").at("pre_tokenizer").at("pretokenizers"),
            Json::array({split(R"(\p{N}{1,3})"), bare_byte_level}));
  for (const char* name : {"gpt-2", "smollm", "qwen2", "llama-bpe"}) {
    const bool qwen = std::string_view(name) == "qwen2", llama = std::string_view(name) == "llama-bpe";
    const Json normalizer = qwen ? Json{{"type", "NFC"}} : Json(nullptr);
    EXPECT_EQ(built(name).at("normalizer"), normalizer) << name;
    EXPECT_EQ(built(name).at("model").at("ignore_merges"), llama) << name;
    const auto file =
        tiny_gguf().remove("tokenizer.ggml.add_bos_token").set("tokenizer.ggml.pre", string_value(name));
    EXPECT_EQ(sidecar(file, "tokenizer_config.json").at("add_bos_token"), llama) << name;
  }
  EXPECT_ERROR(built("default"), "x.gguf: key tokenizer.ggml.pre is default",
               "gpt-2, smollm, qwen2, llama-bpe");
  EXPECT_ERROR(sidecars(tiny_gguf().set("tokenizer.ggml.model", string_value("t5"))),
               "tokenizer.ggml.model is t5");
}

TEST(GgufTokenizer, WritesTheConfigs) {
  GgufBuilder file = tiny_gguf();
  file.set("tokenizer.ggml.eot_token_id", u32_value(1))
      .set("tokenizer.ggml.eom_token_id", u32_value(0))
      .set("tokenizer.ggml.padding_token_id", u32_value(2));
  const Json config = sidecar(file, "tokenizer_config.json");
  EXPECT_EQ(config.at("bos_token"), "<|user|>");
  EXPECT_EQ(config.at("eos_token"), "<|end|>");
  EXPECT_EQ(config.at("pad_token"), "<tool>");
  EXPECT_EQ(config.at("unk_token"), nullptr);
  EXPECT_EQ(config.at("add_bos_token"), false);
  EXPECT_EQ(config.at("chat_template"), "{{ messages }}");
  EXPECT_EQ(config.at("added_tokens_decoder").size(), 3u);
  EXPECT_EQ(config.at("added_tokens_decoder").at("2").at("special"), false);
  EXPECT_EQ(sidecar(file, "generation_config.json"),
            Json::parse(R"({"bos_token_id": 1, "eos_token_id": [0, 1], "pad_token_id": 2})"));
  EXPECT_FALSE(
      sidecar(file.remove("tokenizer.chat_template"), "tokenizer_config.json").contains("chat_template"));
}

TEST(GgufTokenizer, RefusesBadVocabularies) {
  const auto refused = [](const char* key, const std::string& value, const char* why) {
    EXPECT_ERROR(sidecars(tiny_gguf().set(key, value)), "x.gguf: ", key, why);
  };
  const auto types = [](std::vector<std::int32_t> list) { return numbers_value(GgufType::i32, list); };
  refused("tokenizer.ggml.tokens", strings_value({"a"}), "has 1 entries, the model's vocabulary has 8");
  refused("tokenizer.ggml.tokens", strings_value({"a", "b", "c", "d", "e", "f", "g", "a"}),
          "token 7 (a) occurs twice");
  refused("tokenizer.ggml.tokens", strings_value({"", "b", "c", "d", "e", "f", "g", "h"}),
          "special token 0 is empty");
  refused("tokenizer.ggml.token_type", types({1}), "has 1 entries, there are 8");
  refused("tokenizer.ggml.token_type", types({1, 1, 1, 1, 1, 1, 0, 1}), "the type of token 6 is 0");
  refused("tokenizer.ggml.token_type", types({1, 1, 1, 1, 1, 1, 1, 7}), "the type of token 7 is 7");
  refused("tokenizer.ggml.token_type", types({1, 1, 1, 6, 1, 1, 1, 1}), "token 3 is a byte token");
  for (const char* merge : {"", "a", "a b c", " a", "a "})
    refused("tokenizer.ggml.merges", strings_value({merge}), "is no pair of tokens");
  refused("tokenizer.ggml.eos_token_id", u32_value(8), "is 8, there are 8 tokens");
  refused("tokenizer.ggml.bos_token_id", u32_value(4294967295u), "there are 8 tokens");
  refused("tokenizer.ggml.add_eos_token", bool_value(true), "not supported");
  refused("tokenizer.ggml.add_space_prefix", bool_value(true), "not supported");
  EXPECT_ERROR(sidecars(tiny_gguf()
                            .set("tokenizer.ggml.add_bos_token", bool_value(true))
                            .remove("tokenizer.ggml.bos_token_id")),
               "tokenizer.ggml.bos_token_id is missing");
}

/// A field of a protobuf message: a number (varint or four bytes) or bytes.
struct Field {
  std::uint32_t number;
  std::uint64_t value;
  std::string bytes;
};

std::vector<Field> parse_message(std::string_view message) {
  std::vector<Field> fields;
  std::size_t at = 0;
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(message.at(at++));
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.size()) {
    const std::uint64_t tag = varint();
    Field field{static_cast<std::uint32_t>(tag >> 3), 0, ""};
    if ((tag & 7) == 0) {
      field.value = varint();
    } else {
      const std::size_t length = (tag & 7) == 5 ? 4 : varint();
      field.bytes = message.substr(at, length);
      at += length;
    }
    fields.push_back(std::move(field));
  }
  return fields;
}

GgufBuilder tiny_sentencepiece() {
  GgufBuilder file = tiny_gguf();
  file.remove("tokenizer.ggml.pre").remove("tokenizer.ggml.merges").remove("tokenizer.ggml.add_bos_token");
  return file.set("tokenizer.ggml.model", string_value("llama"))
      .set("tokenizer.ggml.tokens",
           strings_value({"<unk>", "<s>", "</s>", "<0x00>", "\xe2\x96\x81", "a", "b", "<x>"}))
      .set("tokenizer.ggml.token_type", numbers_value<std::int32_t>(GgufType::i32, {2, 3, 3, 6, 1, 1, 5, 4}))
      .set("tokenizer.ggml.scores", numbers_value<float>(GgufType::f32, {0, 0, 0, 0, -1, -2.5f, -3, 0}))
      .set("tokenizer.ggml.bos_token_id", u32_value(1))
      .set("tokenizer.ggml.eos_token_id", u32_value(2));
}

TEST(GgufTokenizer, BuildsASentencepieceModel) {
  const Sidecars files = sidecars(tiny_sentencepiece());
  EXPECT_FALSE(files.contains("tokenizer.json"));
  const std::vector<Field> model = parse_message(files.at("tokenizer.model"));
  ASSERT_EQ(model.size(), 10u);  // eight pieces, the trainer's and the normaliser's settings
  const std::vector<Field> piece = parse_message(model[5].bytes);
  ASSERT_EQ(piece.size(), 3u);
  EXPECT_EQ(piece[0].bytes, "a");
  EXPECT_EQ(piece[1].bytes, raw(-2.5f));
  EXPECT_EQ(piece[2].value, 1u);
  EXPECT_EQ(parse_message(model[3].bytes)[2].value, 6u);  // a byte piece

  std::map<std::uint32_t, Field> trainer, normalizer;
  for (const Field& field : parse_message(model[8].bytes)) trainer[field.number] = field;
  for (const Field& field : parse_message(model[9].bytes)) normalizer[field.number] = field;
  EXPECT_EQ(model[8].number, 2u);
  EXPECT_EQ(trainer.at(3).value, 2u);   // BPE
  EXPECT_EQ(trainer.at(4).value, 8u);   // vocabulary
  EXPECT_EQ(trainer.at(35).value, 1u);  // byte fallback
  EXPECT_EQ(trainer.at(40).value, 0u);  // the unknown piece, by its type
  EXPECT_EQ(trainer.at(41).value, 1u);
  EXPECT_EQ(trainer.at(42).value, 2u);
  EXPECT_EQ(trainer.at(43).value, ~std::uint64_t{0});  // no padding piece
  EXPECT_EQ(trainer.at(46).bytes, "<s>");
  EXPECT_EQ(model[9].number, 3u);
  EXPECT_EQ(normalizer.at(3).value, 1u);  // a space before the text
  EXPECT_EQ(normalizer.at(4).value, 0u);  // extra spaces stay
  EXPECT_EQ(normalizer.at(5).value, 1u);  // spaces are U+2581

  const Json config = Json::parse(files.at("tokenizer_config.json"));
  EXPECT_EQ(config.at("add_bos_token"), true);
  EXPECT_EQ(config.at("bos_token"), "<s>");
}

TEST(GgufTokenizer, SentencepieceHonoursTheMetadata) {
  const std::string model = sidecars(tiny_sentencepiece()
                                         .set("tokenizer.ggml.add_space_prefix", bool_value(false))
                                         .set("tokenizer.ggml.remove_extra_whitespaces", bool_value(true)))
                                .at("tokenizer.model");
  const std::vector<Field> normalizer = parse_message(parse_message(model).back().bytes);
  EXPECT_EQ(normalizer.at(1).value, 0u);
  EXPECT_EQ(normalizer.at(2).value, 1u);

  EXPECT_ERROR(sidecars(tiny_sentencepiece().set("tokenizer.ggml.pre", string_value("qwen2"))),
               "tokenizer.ggml.pre is qwen2");
  EXPECT_ERROR(sidecars(tiny_sentencepiece().remove("tokenizer.ggml.scores")),
               "tokenizer.ggml.scores is missing");
  EXPECT_ERROR(
      sidecars(tiny_sentencepiece().set("tokenizer.ggml.scores", numbers_value<float>(GgufType::f32, {1}))),
      "tokenizer.ggml.scores has 1 entries");
  EXPECT_ERROR(
      sidecars(tiny_sentencepiece().set("tokenizer.ggml.tokens",
                                        strings_value({"<unk>", "<s>", "</s>", "", "c", "a", "b", "<x>"}))),
      "token 3 is empty");
}

}  // namespace
}  // namespace assay
