// Bytes of text that scored tokens stand for, exactly, with tokenizers that put a space before the text.
#include <gtest/gtest.h>

#include "assay/base/json.h"
#include "assay/measure/measurement.h"
#include "tests/measure/fake_loaded.h"
#include "tests/support.h"

namespace assay {
namespace {

constexpr const char* kSentences =
    "The city of London is the capital of England, and a river runs through it. Caf\u00e9s open at 7 in the "
    "morning: nobody knows why. \u4f60\u597d is a greeting. In 1066 the Normans came, saw and stayed for "
    "good. "
    "What was built then may still be seen, where it was not pulled down again.";

LoadedModel sentencepiece_model(const std::string& name, bool adds_bos) {
  const Json config = {{"add_bos_token", adds_bos}, {"bos_token", "<s>"}};
  const TokenizerPtr tokenizer =
      load_tokenizer({{"tokenizer.model", test::read_bytes(test::project("tests/data/" + name))},
                      {"tokenizer_config.json", config.dump()}},
                     name);
  const int vocabulary = static_cast<int>(tokenizer->vocabulary_size());
  LoadedModel model =
      test::fake_loaded("models/" + name, vocabulary, [vocabulary](std::span<const std::int32_t>) {
        return std::vector<float>(static_cast<std::size_t>(vocabulary), 0.0f);
      });
  model.tokenizer = tokenizer;
  return model;
}

TEST(ScoredBytes, AreExactForSentencePiece) {
  const test::SingleThread single;
  const test::TemporaryFolder folder;
  const std::string path = folder.file("text.txt"), text = kSentences;
  test::write_bytes(path, text);
  for (const char* name : {"sentencepiece_bpe.model", "sentencepiece_unigram.model"})
    for (const bool bos : {false, true}) {
      SCOPED_TRACE(std::string(name) + (bos ? " with BOS" : ""));
      const LoadedModel model = sentencepiece_model(name, bos);
      const Corpus whole = load_corpus(model, {path, 0, 1});
      ASSERT_EQ(whole.bos_added, bos);
      const std::span<const TokenId> ids = std::span(whole.tokens).subspan(bos ? 1 : 0);
      ASSERT_EQ(model.tokenizer->decode(ids), text);
      /// Bytes of the text before token `index` of the corpus.
      const auto bytes_before = [&](std::size_t index) {
        return model.tokenizer->decode(ids.first(index - (bos ? 1 : 0))).size();
      };
      const auto bytes_of = [&](const Corpus& corpus, Protocol protocol, std::size_t window) {
        EvaluateOptions options;
        options.windows = {protocol, window, window / 2};
        return measure(std::span(&model, 1), nullptr, corpus, options).bytes.bytes;
      };
      EXPECT_EQ(bytes_of(whole, Protocol::sliding, 16), text.size());
      const Corpus cut = load_corpus(model, {path, 60, 1});
      ASSERT_TRUE(cut.partial);
      for (const std::size_t window : {4u, 10u, 16u, 200u})
        EXPECT_EQ(bytes_of(cut, Protocol::sliding, window), bytes_before(cut.tokens.size()) - bytes_before(1))
            << window;
      for (const std::size_t window : {2u, 4u, 7u, 16u}) {
        std::size_t expected = 0;
        for (std::size_t end = window; end <= whole.tokens.size(); end += window)
          expected += bytes_before(end) - bytes_before(end - window + window / 2);
        EXPECT_EQ(bytes_of(whole, Protocol::chunked, window), expected) << window;
      }
    }
}

}  // namespace
}  // namespace assay
