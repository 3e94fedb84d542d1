// Token ids against Hugging Face's `tokenizers` (tests/reference/tokenizer_vectors.py) and the shared
// references.
#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "tests/support.h"
#include "tests/tokenizer/small_tokenizer.h"

namespace assay {
namespace {

TokenizerPtr load_folder(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    files[name] = test::read_bytes(folder + "/" + name);
  return load_tokenizer(files, folder);
}

TEST(TokenizerVectors, DemoModel) {
  const Json data = read_json_file(test::project("tests/data/tokenizer_vectors.json"));
  const TokenizerPtr tokenizer = load_folder(test::demo_model());
  ASSERT_GT(data["demo"].size(), 50U);
  for (const Json& vector : data["demo"]) {
    SCOPED_TRACE(vector["text"].dump());
    EXPECT_EQ(tokenizer->encode(vector["text"].get<std::string>()), vector["ids"].get<test::Ids>());
  }
}

TEST(TokenizerVectors, Variants) {
  const Json data = read_json_file(test::project("tests/data/tokenizer_vectors.json"));
  ASSERT_GT(data["variants"].size(), 15U);
  for (const Json& variant : data["variants"]) {
    Json json = variant["tokenizer"];
    json["model"]["vocab"] = data["vocabularies"][variant["vocabulary"].get<std::size_t>()];
    const TokenizerPtr tokenizer = test::load_json(json);
    for (const Json& vector : variant["vectors"]) {
      SCOPED_TRACE(variant["name"].dump() + " " + vector["text"].dump());
      const auto ids = vector["ids"].get<test::Ids>();
      EXPECT_EQ(tokenizer->encode(vector["text"].get<std::string>()), ids);
      if (vector.contains("decoded")) {
        EXPECT_EQ(tokenizer->decode(ids, true), vector["decoded"].get<std::string>());
      }
    }
  }
}

TEST(TokenizerVectors, DecodingGivesTheTextBack) {
  const Json data = read_json_file(test::project("tests/data/tokenizer_vectors.json"));
  const TokenizerPtr tokenizer = load_folder(test::demo_model());
  for (const Json& vector : data["demo"]) {
    const auto ids = vector["ids"].get<test::Ids>();
    const std::string text = tokenizer->decode(ids);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);  // NFC has changed the text the first time
  }
}

TEST(TokenizerVectors, WikiText) {
  ASSAY_NEEDS_SHARED("text/wiki.test.raw");
  const TokenizerPtr tokenizer = load_folder(test::shared("models/small"));
  const std::string text = test::read_bytes(test::shared("text/wiki.test.raw"));
  const std::vector<TokenId> ids = tokenizer->encode(text);
  EXPECT_EQ(ids.size(), 357653U);
  // Of the ids in reference/hf/small/nll.npz, as little-endian int32.
  EXPECT_EQ(sha256_hex(std::as_bytes(std::span(ids))),
            "f54cb6c3fd08eab7077816576bbfe859ae3a8be2728f908c0588624304921a83");
  EXPECT_EQ(tokenizer->decode(ids), text);
}

}  // namespace
}  // namespace assay
