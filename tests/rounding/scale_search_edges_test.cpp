// Importance that says nothing, formats that cannot be searched, values that are none.
#include "assay/base/error.h"
#include "tests/rounding/searched.h"

namespace assay::test {
namespace {

// Property 8, and importance that is zero throughout counts as none.
TEST(ScaleSearch, ConstantImportanceIsNone) {
  for_each_format(searchable, [](const Format& format) {
    const std::vector<float> weights = student_t(8 * kColumns, 19, 5.0);
    const Found none = search(format, weights, kColumns);
    for (const float constant : {0.37f, 1e-38f, 3e30f, 0.0f}) {
      const Found found = search(format, weights, kColumns, std::vector<float>(weights.size(), constant));
      EXPECT_EQ(found.codes, none.codes) << constant;
      for (std::size_t unit = 0; unit < found.params.size(); ++unit) {
        EXPECT_EQ(found.params[unit].scale, none.params[unit].scale);
        EXPECT_EQ(found.params[unit].bias, none.params[unit].bias);
      }
      EXPECT_EQ(found.report.without_importance, constant == 0.0f ? found.report.units : 0);
    }
  });
}

// Every fourth weight is small and important: alone they would pull the range in and clip all others.
TEST(ScaleSearch, NoWeightIsFreeWhereSomeImportanceIsZero) {
  const Format& format = *find_format("khw3");
  std::vector<float> weights = gaussian(64 * kColumns, 20), importance(weights.size(), 0.0f);
  std::vector<double> forgotten(weights.size(), 1.0);
  for (std::size_t i = 0; i < weights.size(); i += 4) {
    weights[i] *= 0.005f;
    importance[i] = 1.0f;
    forgotten[i] = 0.0;
  }
  const auto error_of_forgotten = [&](const ScaleSearchOptions& options) {
    const Found found = search(format, weights, kColumns, importance, options);
    return weighted_loss(weights, decode(format, found, weights.size()), forgotten);
  };
  EXPECT_LT(error_of_forgotten({}), 0.25 * error_of_forgotten({.importance_floor = 0.0}));
}

/// Mean squared error of the outputs over tokens whose channels have these scales and share a common part.
double output_error(const std::vector<float>& weights, const std::vector<float>& stored,
                    const std::vector<float>& tokens, std::size_t columns) {
  double sum = 0;
  for (std::size_t row = 0; row < weights.size(); row += columns)
    for (std::size_t token = 0; token < tokens.size(); token += columns) {
      double error = 0;
      for (std::size_t i = 0; i < columns; ++i)
        error += (static_cast<double>(weights[row + i]) - static_cast<double>(stored[row + i])) *
                 static_cast<double>(tokens[token + i]);
      sum += error * error;
    }
  return sum;
}

// Property 9. Weights independent of the channels' scales, growing and shrinking with them; importance from
// one set of tokens, error on another.
TEST(ScaleSearch, ImportanceLowersTheErrorOfOutputs) {
  constexpr std::size_t kRows = 16, kTokens = 256;
  const std::vector<float> channels = log_normal(kColumns, 22, 1.0f);
  const auto tokens = [&](unsigned seed) {
    std::vector<float> values = gaussian(kTokens * kColumns, seed);
    const std::vector<float> common = gaussian(kTokens, seed + 1);
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = channels[i % kColumns] * (values[i] + 0.3f * common[i / kColumns]);
    return values;
  };
  const std::vector<float> calibration = tokens(23), held_out = tokens(25);
  std::vector<float> mean_square(kColumns, 0.0f);
  for (std::size_t i = 0; i < calibration.size(); ++i)
    mean_square[i % kColumns] += calibration[i] * calibration[i] / static_cast<float>(kTokens);
  for (const char* name : {"khw3", "khq3-sym", "mlx2-g64-bf16", "mlx4-g64-f16", "q4_0", "int3-row"})
    for (const double power : {0.0, 1.0, -1.0}) {
      SCOPED_TRACE(std::string(name) + ", weights times channel to the " + std::to_string(power));
      const Format& format = *find_format(name);
      std::vector<float> weights = student_t(kRows * kColumns, 27, 5.0), importance(weights.size());
      for (std::size_t i = 0; i < weights.size(); ++i) {
        weights[i] *= static_cast<float>(std::pow(channels[i % kColumns], power));
        importance[i] = mean_square[i % kColumns];
      }
      const auto plain = decode(format, encode(format, weights, kColumns), weights.size());
      const auto unweighted = decode(format, search(format, weights, kColumns), weights.size());
      const auto weighted = decode(format, search(format, weights, kColumns, importance), weights.size());
      const std::vector<double> used = effective(importance, weights.size(), kColumns);
      EXPECT_LT(weighted_loss(weights, weighted, used), weighted_loss(weights, unweighted, used));
      const double error = output_error(weights, weighted, held_out, kColumns);
      EXPECT_LT(error, output_error(weights, unweighted, held_out, kColumns));
      EXPECT_LT(error, output_error(weights, plain, held_out, kColumns));
    }
}

TEST(ScaleSearch, ParametersOfUnitsThatShareTheirImportance) {
  for_each_format(searchable, [](const Format& format) {
    const Layout layout = format.layout(kColumns);
    const std::size_t run = layout.run;
    const std::vector<float> weights = student_t(16 * run, 28, 5.0), shared = log_normal(run, 29, 1.0f);
    std::vector<float> importance;
    for (std::size_t i = 0; i < weights.size(); ++i) importance.push_back(shared[i % run]);
    for (const bool weighted : {true, false}) {
      const std::size_t columns = layout.record_run();
      const Found found = search(format, weights, columns, weighted ? importance : std::vector<float>());
      std::vector<Params> params(16);
      if (layout.units_per_record > 1) params = encode(format, weights, columns).params;
      SearchReport report;
      search_params(format, weights, weighted ? shared : std::vector<float>(), params, {}, &report);
      for (std::size_t unit = 0; unit < params.size(); ++unit) {
        EXPECT_EQ(params[unit].scale, found.params[unit].scale);
        EXPECT_EQ(params[unit].bias, found.params[unit].bias);
      }
      EXPECT_EQ(report.loss, found.report.loss);
      EXPECT_EQ(report.improved, found.report.improved);
    }
  });
}

TEST(ScaleSearch, WhatCannotBeSearchedGetsItsReference) {
  const auto fixed = [](const Format& format) { return format.can_encode() && !searchable(format); };
  for_each_format(fixed, [](const Format& format) {
    const std::vector<float> weights = gaussian(4 * kColumns, 30);
    const Encoded plain = encode(format, weights, kColumns);
    const Found found = search(format, weights, kColumns, log_normal(weights.size(), 31, 1.0f));
    EXPECT_EQ(found.codes, plain.codes);
    EXPECT_EQ(found.report.improved, 0u);
    std::vector<Params> params(plain.params.size());
    if (format.layout(kColumns).units_per_record > 1) params = plain.params;
    if (format.layout(kColumns).has_params) search_params(format, weights, {}, params);
    for (std::size_t unit = 0; unit < params.size(); ++unit) {
      EXPECT_EQ(found.params[unit].scale, plain.params[unit].scale);
      EXPECT_EQ(params[unit].scale, plain.params[unit].scale);
    }
  });
}

TEST(ScaleSearch, RefusesWhatIsNotANumber) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Format& format = *find_format("khq4");
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    std::vector<float> weights = gaussian(70, 32), importance(70, 1.0f);
    weights[41] = bad;
    EXPECT_ERROR(search(format, weights, 70), "element 41", "finite weight");
    weights[41] = 0.0f;
    importance[69] = bad;
    EXPECT_ERROR(search(format, weights, 70, importance), "importance of element 69", "finite");
  }
  std::vector<float> negative(70, 1.0f);
  negative[5] = -1e-20f;
  EXPECT_ERROR(search(format, gaussian(70, 33), 70, negative), "importance of element 5", ">= 0");
  std::vector<Params> params(2);
  EXPECT_ERROR(search_params(format, gaussian(64, 34), std::span(negative).first(32), params), "element 5");
}

TEST(ScaleSearch, NothingIsNothing) {
  for_each_format(searchable, [](const Format& format) {
    SearchReport report;
    search_units(format, {}, {}, {}, {}, {}, &report);
    search_params(format, {}, {}, {}, {}, &report);
    EXPECT_EQ(report.units, 0u);
  });
}

TEST(ScaleSearch, ReportsAdd) {
  const Format& format = *find_format("khq4");
  const std::vector<float> weights = gaussian(4 * kColumns, 35);
  const Found once = search(format, weights, kColumns);
  SearchReport sum = once.report;
  sum.add(once.report);
  EXPECT_EQ(sum.units, 2 * once.report.units);
  EXPECT_EQ(sum.improved, 2 * once.report.improved);
  EXPECT_EQ(sum.loss, 2 * once.report.loss);
  EXPECT_EQ(sum.reference_loss, 2 * once.report.reference_loss);
}

// Fewer rounds or starts cost accuracy, never safety; no rounds leave the reference's parameters.
TEST(ScaleSearch, OptionsBoundTheWork) {
  const Format& format = *find_format("mlx3-g64-f16");
  const std::vector<float> weights = gaussian(64 * kColumns, 36);
  const auto loss = [&](const ScaleSearchOptions& options) {
    return search(format, weights, kColumns, {}, options).report.loss;
  };
  const Found unrefined = search(format, weights, kColumns, {}, {.refinements = 0});
  const Encoded plain = encode(format, weights, kColumns);
  for (std::size_t unit = 0; unit < plain.params.size(); ++unit)
    EXPECT_EQ(unrefined.params[unit].scale, plain.params[unit].scale);
  EXPECT_LT(loss({.points = 0}), loss({.refinements = 0}));
  EXPECT_LT(loss({.points = 8}), loss({.points = 0}));
  EXPECT_LT(loss({}), loss({.points = 8}));
  EXPECT_LT(loss({}), loss({.refinements = 1}));
}

}  // namespace
}  // namespace assay::test
