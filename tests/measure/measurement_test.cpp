#include "assay/measure/measurement.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/measure/gate.h"
#include "assay/measure/pairs.h"
#include "assay/report/report.h"
#include "tests/measure/fake_loaded.h"
#include "tests/support.h"

namespace assay {
namespace {

constexpr int kLetters = 20;

std::string random_text(std::size_t bytes) {
  test::Noise noise(21);
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>('a' + noise.below(kLetters));
  return text;
}

EvaluateOptions small_windows() {
  EvaluateOptions options;
  options.windows = {Protocol::sliding, 64, 32};
  return options;
}

constexpr std::size_t kTextBytes = 22000;  // enough for 20 blocks

class MeasurementTest : public ::testing::Test {
 protected:
  static std::string write_text(std::size_t bytes) {
    const std::string path = folder_->file("text.txt");
    test::write_bytes(path, random_text(bytes));
    return path;
  }
  static Measurement measure_pair(const Corpus& corpus) {
    const std::vector<LoadedModel> models{slightly_worse(), much_worse()};
    const LoadedModel reference = original();
    return measure(models, &reference, corpus, small_windows());
  }
  /// The same for every test that only reads: two models against the original on the whole text.
  static void SetUpTestSuite() {
    const test::SingleThread single;
    folder_ = std::make_unique<test::TemporaryFolder>();
    corpus_ = load_corpus(original(), {write_text(kTextBytes), 0, 1});
    whole_ = measure_pair(corpus_);
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static LoadedModel fake(const char* path, double noise) {
    return test::fake_loaded(path, kLetters, test::noisy_rule(kLetters, 0.2, noise));
  }
  static LoadedModel original() { return fake("models/original", 0); }
  static LoadedModel slightly_worse() { return fake("models/q4", 0.1); }
  static LoadedModel much_worse() { return fake("models/q2", 0.8); }

  const test::SingleThread single_;
  static inline std::unique_ptr<test::TemporaryFolder> folder_;
  static inline Corpus corpus_;
  static inline Measurement whole_;
};

TEST_F(MeasurementTest, JsonHasTheDocumentedKeys) {
  const Measurement& measurement = whole_;
  const OrderedJson json = measurement_json(measurement, measurement.models[0], corpus_);
  for (const char* key : {"perplexity",
                          "perplexity_ci95",
                          "nll",
                          "nll_sum",
                          "bits_per_byte",
                          "bytes",
                          "bytes_counted",
                          "tokens",
                          "tokens_in_text",
                          "partial",
                          "self_sampled",
                          "windows",
                          "window",
                          "stride",
                          "protocol",
                          "mode",
                          "bos_added",
                          "text",
                          "text_sha256",
                          "clusters",
                          "kld",
                          "top1_agreement",
                          "flips",
                          "rms_delta_p",
                          "delta_p",
                          "ppl_ratio",
                          "seconds",
                          "tokens_per_second",
                          "gflops",
                          "sgemm_gflops",
                          "threads",
                          "version",
                          "revision",
                          "model",
                          "reference"})
    EXPECT_TRUE(json.contains(key)) << key;
  for (const char* key : {"mean", "median", "p90", "p95", "p99", "p999", "max", "ci95"})
    EXPECT_TRUE(json["kld"].contains(key)) << key;
  EXPECT_EQ(json["tokens"], kTextBytes - 1);
  EXPECT_EQ(json["windows"], 1 + (kTextBytes - 64 + 31) / 32);
  EXPECT_EQ(json["partial"], false);
  EXPECT_EQ(json["clusters"]["kind"], "blocks of 1024 tokens");
  EXPECT_NE(json.dump().find("ci95"), std::string::npos);
}

TEST_F(MeasurementTest, NumbersAgreeWithEachOther) {
  const Measurement& measurement = whole_;
  const ModelMeasurement& model = measurement.models[0];
  EXPECT_DOUBLE_EQ(model.nll_mean, model.nll_sum / (kTextBytes - 1));
  EXPECT_DOUBLE_EQ(model.perplexity, std::exp(model.nll_mean));
  EXPECT_LT(model.perplexity_interval->low, model.perplexity);
  EXPECT_GT(model.perplexity_interval->high, model.perplexity);
  EXPECT_EQ(measurement.bytes.counted, "whole text");
  EXPECT_NEAR(model.bits_per_byte, model.nll_sum / (std::log(2.0) * kTextBytes), 1e-12);
  EXPECT_NEAR(std::log(model.against_reference->perplexity_ratio()),
              model.nll_mean - measurement.reference->nll_mean, 1e-12);
  const DivergenceSummary& kld = *model.divergence;
  EXPECT_TRUE(kld.bootstrapped);
  EXPECT_LT(kld.median, kld.p90);
  EXPECT_LT(kld.p90, kld.p99);
  EXPECT_LE(kld.p999, kld.max);
  EXPECT_LT(kld.mean_interval->low, kld.mean);
  EXPECT_GT(kld.mean_interval->high, kld.mean);
  EXPECT_LT(kld.median_interval.low, kld.median);
  EXPECT_GT(kld.median_interval.high, kld.median);
  EXPECT_LT(kld.p99_interval.low, kld.p99);
  EXPECT_GT(kld.p99_interval.high, kld.p99);
  EXPECT_GT(measurement.models[1].divergence->mean, 10 * kld.mean);
}

TEST_F(MeasurementTest, CappedTextIsPartialAndCountsItsOwnBytes) {
  const Corpus corpus = load_corpus(original(), {write_text(kTextBytes), 5000, 1});
  const Measurement measurement = measure_pair(corpus);
  EXPECT_TRUE(corpus.partial);
  EXPECT_EQ(measurement.bytes.bytes, 4999u);
  EXPECT_EQ(measurement.bytes.counted, "decoded scored tokens");
  const OrderedJson json = measurement_json(measurement, measurement.models[0], corpus);
  EXPECT_EQ(json["partial"], true);
  EXPECT_EQ(json["tokens_in_text"], kTextBytes);
  EXPECT_EQ(json["text_sha256"], corpus_.text_sha256) << "of the whole file";
}

TEST_F(MeasurementTest, ChunkedCountsTheBytesItScored) {
  const LoadedModel model = original();
  const Corpus corpus = load_corpus(model, {write_text(1000), 0, 1});
  EvaluateOptions options = small_windows();
  options.windows.protocol = Protocol::chunked;
  const Measurement measurement = measure(std::span(&model, 1), nullptr, corpus, options);
  EXPECT_EQ(measurement.bytes.bytes, 15u * 32);
  const OrderedJson json = measurement_json(measurement, measurement.models[0], corpus);
  EXPECT_TRUE(json["stride"].is_null());
  EXPECT_TRUE(json["perplexity_ci95"].is_null()) << "480 tokens are one cluster";
  EXPECT_FALSE(json.contains("kld"));
}

TEST_F(MeasurementTest, ABeginTokenIsAddedOnlyWhereDemanded) {
  auto tokenizer = std::make_shared<test::LetterTokenizer>(kLetters);
  tokenizer->bos = 7;
  LoadedModel model = original();
  model.tokenizer = tokenizer;
  const std::string path = write_text(100);
  EXPECT_EQ(load_corpus(model, {path, 0, 1}).tokens.size(), 100u);
  tokenizer->adds_bos = true;
  const Corpus corpus = load_corpus(model, {path, 0, 1});
  EXPECT_EQ(corpus.tokens.size(), 101u);
  EXPECT_EQ(corpus.tokens.front(), 7);
  EXPECT_TRUE(corpus.bos_added);
}

TEST_F(MeasurementTest, RefusesModelsThatReadTheTextDifferently) {
  const LoadedModel other =
      test::fake_loaded("models/other", kLetters - 3, test::noisy_rule(kLetters - 3, 1, 0));
  const LoadedModel reference = original();
  const Corpus corpus = load_corpus(reference, {write_text(2000), 0, 1});
  EXPECT_ERROR(measure(std::span(&other, 1), &reference, corpus, small_windows()), "models/other",
               "other ids", "bits per byte");
}

TEST_F(MeasurementTest, AnEmptyTextIsRefused) {
  EXPECT_ERROR(load_corpus(original(), {write_text(0), 0, 1}), "text.txt", "empty");
  EXPECT_ERROR(load_corpus(original(), {folder_->file("absent"), 0, 1}), "absent");
}

TEST_F(MeasurementTest, GateComparesTheUpperEnd) {
  const Measurement& measurement = whole_;
  const Interval kld = measurement.models[0].divergence->mean_interval.value();
  const double mean = measurement.models[0].divergence->mean;
  EXPECT_TRUE(apply_gate(measurement, {kld.high * 1.0001, std::nullopt}).passed());
  const GateResult refused = apply_gate(measurement, {0.5 * (mean + kld.high), std::nullopt});
  EXPECT_FALSE(refused.passed()) << "the mean is within the limit, the interval is not";
  EXPECT_NE(refused.checks[0].sentence().find("REFUSED: mean KLD"), std::string::npos);
  const Interval ratio = measurement.models[0].against_reference->perplexity_ratio_interval().value();
  EXPECT_TRUE(apply_gate(measurement, {std::nullopt, 100 * (ratio.high - 1) + 1e-9}).passed());
  EXPECT_FALSE(apply_gate(measurement, {std::nullopt, 100 * (ratio.high - 1) - 1e-9}).passed());
  EXPECT_FALSE(apply_gate(measurement, {1e9, 100 * (ratio.high - 1) - 1e-9}).passed())
      << "all limits must hold";
  const OrderedJson json = gate_json(refused, measurement, corpus_);
  EXPECT_EQ(json["gate"]["passed"], false);
  EXPECT_EQ(json["gate"]["checks"][0]["ci95"][1], kld.high);
}

TEST_F(MeasurementTest, GateNeedsAnInterval) {
  const Measurement measurement = measure_pair(load_corpus(original(), {write_text(500), 0, 1}));
  EXPECT_ERROR(apply_gate(measurement, {1.0, std::nullopt}), "one cluster", "more text");
}

/// One cluster: figures, and nothing that claims how sure they are.
TEST_F(MeasurementTest, OneClusterHasFiguresAndNoIntervals) {
  for (const std::size_t bytes : {std::size_t{2}, std::size_t{500}, std::size_t{1024}}) {
    const Corpus corpus = load_corpus(original(), {write_text(bytes), 0, 1});
    const Measurement measurement = measure_pair(corpus);
    ASSERT_EQ(measurement.clusters.count(), 1u);
    const ModelMeasurement& model = measurement.models[1];
    EXPECT_FALSE(model.perplexity_interval);
    ASSERT_TRUE(model.divergence);
    EXPECT_GT(model.divergence->mean, 0);
    EXPECT_FALSE(model.divergence->mean_interval);
    EXPECT_FALSE(model.divergence->top1_interval);
    const PairwiseComparison pairs = compare_pairs(measurement, 0.5);
    EXPECT_FALSE(pairs.divergences[0].interval);
    for (const Comparison& comparison : pairs.losses) EXPECT_EQ(comparison.decision, Decision::not_resolved);
    const OrderedJson json = OrderedJson::parse(pairs_json(measurement, corpus, pairs, 0.5).dump());
    EXPECT_TRUE(json["comparisons"][0]["ppl_ratio_ci95"].is_null());
    EXPECT_TRUE(json["comparisons"][0]["detectable_percent"].is_null());
    EXPECT_TRUE(json["kld_differences"][0]["ci95"].is_null());
    EXPECT_TRUE(json["models"][0]["kld"]["ci95"].is_null());
    EXPECT_TRUE(json["models"][0]["top1_agreement_ci95"].is_null());
    EXPECT_TRUE(json["models"][0]["ppl_ratio"]["ci95"].is_null());
    ReportInput report;
    report.original = report_original(measurement);
    report.facts = report_facts(measurement, corpus);
    for (std::size_t i = 0; i < 2; ++i)
      report.models.push_back(report_model(measurement, i, "r", pairs.losses[i].sentence(0.5)));
    const std::string html = render_report(report);
    EXPECT_NE(html.find("no interval"), std::string::npos);
    EXPECT_NE(html.find("one cluster"), std::string::npos);
    for (const char* broken : {"nan", "inf,", "-inf"})
      EXPECT_EQ(html.find(broken), std::string::npos) << broken;
  }
}

TEST_F(MeasurementTest, LogitsThatAreNotFiniteAreRefused) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const auto rule = [bad](std::span<const std::int32_t> history) {
      std::vector<float> logits(kLetters, 0.5f);
      if (history.size() == 40) logits[7] = bad;
      return logits;
    };
    const LoadedModel broken = test::fake_loaded("models/broken", kLetters, rule), reference = original();
    EXPECT_ERROR(measure(std::span(&broken, 1), &reference, corpus_, small_windows()), "models/broken",
                 "not finite");
    EXPECT_ERROR(measure(std::span(&reference, 1), &broken, corpus_, small_windows()), "models/broken",
                 "not finite");
  }
}

TEST_F(MeasurementTest, TextWithoutTokensIsRefused) {
  class Deaf : public test::LetterTokenizer {
   public:
    using LetterTokenizer::LetterTokenizer;
    std::vector<TokenId> encode(std::string_view) const override { return {}; }
  };
  LoadedModel model = original();
  model.tokenizer = std::make_shared<Deaf>(kLetters);
  EXPECT_ERROR(load_corpus(model, {write_text(10), 0, 1}), "text.txt", "no tokens");
}

TEST_F(MeasurementTest, TheTextMustBeText) {
  const std::string path = folder_->file("archive");
  std::string bytes = "\x1F\x8B\x08";
  for (int i = 0; i < 500; ++i) bytes += static_cast<char>(i * 37);
  test::write_bytes(path, bytes);
  EXPECT_ERROR(load_corpus(original(), {path, 0, 1}), "archive", "gzip", "--any-text");
  CorpusOptions insisted{path, 0, 1};
  insisted.any_text = true;
  EXPECT_EQ(load_corpus(original(), insisted).notes.size(), 1u);
  test::write_bytes(path, "\xEF\xBB\xBF" + random_text(3000));
  const Corpus corpus = load_corpus(original(), {path, 0, 1});
  EXPECT_EQ(corpus.text, random_text(3000));
  const LoadedModel model = original();
  const Measurement measurement = measure(std::span(&model, 1), nullptr, corpus, small_windows());
  EXPECT_EQ(measurement.bytes.bytes, 3000u) << "a mark is no text";
  const OrderedJson json = measurement_json(measurement, measurement.models[0], corpus);
  EXPECT_NE(json["text_notes"].dump().find("byte-order mark"), std::string::npos);
  bool said = false;
  for (const std::string& fact : report_facts(measurement, corpus))
    said = said || fact.find("byte-order mark") != std::string::npos;
  EXPECT_TRUE(said);
}

/// A chunk begins with BOS, whatever stood there, where the model wants it.
TEST_F(MeasurementTest, EveryChunkBeginsWithTheBeginToken) {
  std::vector<std::vector<TokenId>> starts(2);
  for (const bool wanted : {false, true}) {
    auto tokenizer = std::make_shared<test::LetterTokenizer>(kLetters);
    tokenizer->bos = 7;
    tokenizer->adds_bos = wanted;
    std::vector<TokenId>& seen = starts[wanted ? 1 : 0];
    LoadedModel model =
        test::fake_loaded("models/m", kLetters, [&seen](std::span<const std::int32_t> history) {
          if (history.size() == 1) seen.push_back(history[0]);
          return std::vector<float>(kLetters, 0.0f);
        });
    model.tokenizer = tokenizer;
    const Corpus corpus = load_corpus(model, {write_text(300), 0, 1});
    EvaluateOptions options = small_windows();
    options.windows.protocol = Protocol::chunked;
    for (const EvaluationMode mode : {EvaluationMode::prefill, EvaluationMode::decode}) {
      seen.clear();
      options.mode = mode;
      const Measurement measurement = measure(std::span(&model, 1), nullptr, corpus, options);
      ASSERT_EQ(seen.size(), 4u);
      for (std::size_t chunk = 0; chunk < 4; ++chunk)
        EXPECT_EQ(seen[chunk], wanted ? 7 : corpus.tokens[64 * chunk]) << chunk;
      EXPECT_EQ(measurement_json(measurement, measurement.models[0], corpus)["bos_each_chunk"], wanted);
    }
    seen.clear();
    measure(std::span(&model, 1), nullptr, corpus, small_windows());
    EXPECT_EQ(seen[1], corpus.tokens[32]) << "sliding windows go on in the text";
  }
}

/// As sentencepiece: a space is put before the text, and taken away again where decoding begins.
class SpacedTokenizer : public test::LetterTokenizer {
 public:
  SpacedTokenizer() : LetterTokenizer(kLetters) {}
  std::string decode(std::span<const TokenId> ids, bool) const override {
    std::string text;
    for (const TokenId id : ids)
      text += id == 0 ? std::string("<s>") : std::string(" ") + static_cast<char>('a' + id);
    if (text.starts_with(' ')) text.erase(0, 1);
    return text;
  }
  std::vector<TokenId> encode(std::string_view text) const override {
    std::vector<TokenId> ids;
    for (const char c : text)
      if (c != ' ') ids.push_back(c - 'a');
    return ids;
  }
};

TEST_F(MeasurementTest, SpacesThatDecodingDropsAreCounted) {
  std::string text;
  for (std::size_t i = 0; i < 320; ++i)
    text += std::string(i > 0 ? " " : "") + static_cast<char>('b' + i % 19);
  const std::string path = folder_->file("spaced.txt");
  test::write_bytes(path, text);
  for (const bool bos : {false, true}) {
    auto tokenizer = std::make_shared<SpacedTokenizer>();
    tokenizer->bos = 0;
    tokenizer->adds_bos = bos;
    LoadedModel model = original();
    model.tokenizer = tokenizer;
    EvaluateOptions options = small_windows();
    CorpusOptions cut{path, 319, 1};
    const Measurement sliding = measure(std::span(&model, 1), nullptr, load_corpus(model, cut), options);
    // "b c d ...": one byte for the first token, two for each of the others; without BOS the first is not
    // scored.
    EXPECT_EQ(sliding.bytes.bytes, bos ? 2u * 319 - 1 : 2u * 318);
    options.windows.protocol = Protocol::chunked;
    const Measurement chunked =
        measure(std::span(&model, 1), nullptr, load_corpus(model, {path, 0, 1}), options);
    EXPECT_EQ(chunked.bytes.bytes, 2u * 5 * 32);
  }
}

TEST_F(MeasurementTest, AllPairsAreComparedAndDecidedTogether) {
  const Measurement& measurement = whole_;
  const PairwiseComparison pairs = compare_pairs(measurement, 0.5);
  EXPECT_EQ(pairs.names, (std::vector<std::string>{"original", "q4", "q2"}));
  ASSERT_EQ(pairs.losses.size(), 3u);
  ASSERT_EQ(pairs.divergences.size(), 1u);
  const Comparison& candidates = pairs.losses[2];
  EXPECT_EQ(candidates.first, "q2");
  EXPECT_EQ(candidates.second, "q4");
  EXPECT_EQ(candidates.decision, Decision::second_better);
  EXPECT_EQ(candidates.sentence(0.5).substr(0, 23), "q4 is better than q2 by");
  EXPECT_GT(pairs.divergences[0].interval->low, 0) << "q2 diverges more than q4";
  const OrderedJson json = pairs_json(measurement, corpus_, pairs, 0.5);
  EXPECT_EQ(json["comparisons"].size(), 3u);
  EXPECT_EQ(json["models"].size(), 2u);
}

TEST_F(MeasurementTest, NamesThatCollideBecomePaths) {
  const std::vector<LoadedModel> models{
      test::fake_loaded("elsewhere/original", kLetters, test::noisy_rule(kLetters, 1, 0))};
  const LoadedModel reference = original();
  const Corpus corpus = load_corpus(reference, {write_text(5000), 0, 1});
  const Measurement measurement = measure(models, &reference, corpus, small_windows());
  EXPECT_EQ(compare_pairs(measurement, 0.5).names,
            (std::vector<std::string>{"models/original", "elsewhere/original"}));
}

TEST_F(MeasurementTest, AModelAgainstItselfIsIndistinguishable) {
  const LoadedModel model = original();
  const Measurement measurement = measure(std::span(&model, 1), &model, corpus_, small_windows());
  const DivergenceSummary& kld = *measurement.models[0].divergence;
  EXPECT_EQ(kld.max, 0);
  EXPECT_EQ(kld.mean_interval->high, 0);
  EXPECT_EQ(kld.top1_agreement, 1);
  EXPECT_EQ(measurement.models[0].against_reference->perplexity_ratio(), 1);
  EXPECT_EQ(compare_pairs(measurement, 0.5).losses[0].decision, Decision::indistinguishable);
}

}  // namespace
}  // namespace assay
