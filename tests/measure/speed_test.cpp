#include "assay/measure/speed.h"

#include <gtest/gtest.h>

#include <cmath>

#include "assay/base/error.h"
#include "assay/measure/machine.h"
#include "tests/measure/fake_loaded.h"
#include "tests/support.h"

namespace assay {
namespace {

double no_memory() {
  return 1;
}

TEST(Speed, SlopeRecoversTheRateBehindAStartUpCost) {
  // 0.7 s of start-up, 4 ms a token, one outlier that a median forgets.
  const DecodeTimer timer = [call = 0](std::size_t tokens) mutable {
    return 0.7 + 0.004 * static_cast<double>(tokens) + (++call == 3 ? 5 : 0);
  };
  EXPECT_NEAR(decode_rate(sample_decode(timer, no_memory, {}), {}).value, 250, 1e-9);
}

TEST(Speed, WhatIsNotMeasurableIsAnError) {
  const auto rate = [](const DecodeTimer& timer) {
    return decode_rate(sample_decode(timer, no_memory, {}), {});
  };
  EXPECT_ERROR(rate([](std::size_t) { return 1.0; }), "not measurable", "--tokens");
  EXPECT_ERROR(rate([](std::size_t tokens) { return 1.0 / static_cast<double>(tokens); }), "not measurable");
}

// 64 tokens in .3 s more, 200 bytes each; memory gives 100,000 bytes a second, once half.
TEST(Speed, TheRoofIsWhatMemoryGivesInTheSameRun) {
  std::vector<DecodeSample> samples(9, {0.1, 0.4, 1e5});
  samples[4].bandwidth = 5e4;
  const SpeedOptions options;
  const double rate = 64 / 0.3;
  EXPECT_NEAR(decode_rate(samples, options).value, rate, 1e-9);
  EXPECT_NEAR(roof_share(samples, 200, options).value, rate * 200 / 1e5, 1e-9);
  EXPECT_FALSE(decode_rate(std::span(samples).first(3), options).interval);
}

TEST(Speed, IntervalsHoldTheSpreadOfRepeats) {
  std::vector<double> values;
  for (int i = 0; i < 101; ++i) values.push_back(i);
  const Measured measured = median_of(values);
  EXPECT_EQ(measured.value, 50);
  // The median of n values: sqrt(pi / 2) / sqrt(n) of a normal's deviation is a rough guide; exact for
  // nobody.
  EXPECT_GT(measured.interval->low, 30);
  EXPECT_LT(measured.interval->low, 45);
  EXPECT_GT(measured.interval->high, 55);
  EXPECT_LT(measured.interval->high, 70);
}

TEST(Speed, AbbaCancelsALinearDriftExactly) {
  // Log rates drift by a constant step from measurement to measurement.
  for (const double drift : {-0.3, 0.0, 0.02, 1.5}) {
    const double a = std::log(100), b = std::log(130);
    const AbbaQuad quad{std::exp(a), std::exp(b + drift), std::exp(b + 2 * drift), std::exp(a + 3 * drift)};
    EXPECT_NEAR(abba_ratio(quad), 1.3, 1e-12);
  }
}

TEST(Speed, QuadsCombineInLogSpace) {
  const std::vector<AbbaQuad> quads{{1, 2, 2, 1}, {1, 8, 8, 1}};
  const SpeedRatio ratio = combine_quads(quads);
  EXPECT_NEAR(ratio.ratio, 4, 1e-12);
  // Logs ln 2 and ln 8: standard error ln 2, t(1 degree) 12.7062.
  EXPECT_NEAR(std::log(ratio.interval->high / 4), 12.7062047 * std::log(2), 1e-6);
  EXPECT_NEAR(std::log(4 / ratio.interval->low), 12.7062047 * std::log(2), 1e-6);
  EXPECT_FALSE(combine_quads(std::vector<AbbaQuad>{{1, 2, 2, 1}}).interval);
}

TEST(Speed, QuadsRunInTheirOrder) {
  std::string order;
  const auto timer = [&](char name, double seconds) {
    return [&order, name, seconds](std::size_t tokens) {
      order += name;
      return 0.1 + seconds * static_cast<double>(tokens);
    };
  };
  SpeedOptions options;
  options.repeats = 2;
  const auto quads = measure_quads(timer('a', 0.01), timer('b', 0.005), options);
  EXPECT_EQ(order, "aabbbbaaaabbbbaa");
  EXPECT_NEAR(combine_quads(quads).ratio, 2, 1e-9);
}

TEST(Speed, TimesAModel) {
  const test::FakeModel model(8, test::noisy_rule(8, 1, 0));
  SpeedOptions options;
  options.first_tokens = 50;
  options.second_tokens = 400;
  options.prefill_tokens = 50;
  options.repeats = 2;
  EXPECT_GT(decode_timer(model, options)(10), 0);
  EXPECT_EQ(measure_prefills(model, options).size(), 2u);
  EXPECT_GT(measure_prefills(model, options)[0], 0);
}

TEST(Speed, BytesATokenReads) {
  // Embedding [10, 4] and head [10, 4], one matrix [4, 4], all f32; one KV row of 1 + 1 floats a position.
  LoadedModel loaded = test::fake_loaded("m", 8, test::noisy_rule(8, 1, 0));
  auto checkpoint = std::make_shared<Checkpoint>();
  const auto add = [&](const char* name, Shape shape) {
    static const std::vector<std::byte> storage(160);
    Tensor tensor;
    tensor.name = name;
    tensor.shape = shape;
    tensor.planes = {Bytes(storage).first(4 * shape[0] * shape[1])};
    checkpoint->tensors.push_back(tensor);
  };
  add("lm_head.weight", {10, 4});
  add("model.embed_tokens.weight", {10, 4});
  add("model.layers.0.mlp.up_proj.weight", {4, 4});
  loaded.checkpoint = checkpoint;
  EXPECT_EQ(decode_bytes_per_token(loaded, 5), 160u + 16 + 64 + 2 * 4 * 5);
}

TEST(Speed, MachineRatesArePlausible) {
  EXPECT_GT(measure_sgemm_gflops(), 0.1);
  EXPECT_GT(ReadProbe(1 << 22).bytes_per_second(), 5e7);
}

}  // namespace
}  // namespace assay
