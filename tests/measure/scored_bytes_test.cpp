// Bytes of text that scored tokens stand for, exactly, with tokenizers that put a space before the text.
#include <gtest/gtest.h>

#include <map>

#include "assay/base/json.h"
#include "assay/measure/corpus.h"
#include "tests/measure/fake_loaded.h"
#include "tests/support.h"

namespace assay {
namespace {

const std::string kKnown = "What was built then may still be seen, where it was not pulled down again.";
/// The one model has a token for every byte, the other for these letters alone.
const std::map<std::string, std::string> kTexts = {
    {"sentencepiece_bpe.model",
     "Caf\u00e9s open at 7 in London: nobody knows why. \u4f60\u597d! " + kKnown + " " + kKnown},
    {"sentencepiece_unigram.model", kKnown + " " + kKnown + " " + kKnown + " " + kKnown}};

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
  const std::string path = folder.file("text.txt");
  for (const auto& [name, text] : kTexts)
    for (const bool bos : {false, true}) {
      test::write_bytes(path, text);
      SCOPED_TRACE(name + (bos ? " with BOS" : ""));
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
        const EvaluatedModel entry{model.model.get(), "model"};
        const Evaluation evaluation = evaluate(std::span(&entry, 1), std::nullopt, corpus.tokens, options);
        return scored_bytes(corpus, *model.tokenizer, evaluation, protocol).bytes;
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
