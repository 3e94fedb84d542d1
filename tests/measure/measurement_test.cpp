#include "assay/measure/measurement.h"

#include <gtest/gtest.h>

#include <cmath>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/measure/gate.h"
#include "assay/measure/pairs.h"
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
  EXPECT_LT(kld.mean_interval.low, kld.mean);
  EXPECT_GT(kld.mean_interval.high, kld.mean);
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
  const Interval kld = measurement.models[0].divergence->mean_interval;
  const double mean = measurement.models[0].divergence->mean;
  EXPECT_TRUE(apply_gate(measurement, {kld.high * 1.0001, std::nullopt}).passed());
  const GateResult refused = apply_gate(measurement, {0.5 * (mean + kld.high), std::nullopt});
  EXPECT_FALSE(refused.passed()) << "the mean is within the limit, the interval is not";
  EXPECT_NE(refused.checks[0].sentence().find("REFUSED: mean KLD"), std::string::npos);
  const Interval ratio = measurement.models[0].against_reference->perplexity_ratio_interval();
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

TEST_F(MeasurementTest, GateReadsPercentages) {
  EXPECT_DOUBLE_EQ(parse_percent("2%"), 2);
  EXPECT_DOUBLE_EQ(parse_percent("0.5"), 0.5);
  for (const char* text : {"", "%", "two", "-1%", "nan", "inf", "2%%", "1e999"})
    EXPECT_ERROR(parse_percent(text), "percentage");
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
  EXPECT_GT(pairs.divergences[0].interval.low, 0) << "q2 diverges more than q4";
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
  EXPECT_EQ(kld.mean_interval.high, 0);
  EXPECT_EQ(kld.top1_agreement, 1);
  EXPECT_EQ(measurement.models[0].against_reference->perplexity_ratio(), 1);
  EXPECT_EQ(compare_pairs(measurement, 0.5).losses[0].decision, Decision::indistinguishable);
}

}  // namespace
}  // namespace assay
