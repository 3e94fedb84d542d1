// Rounding under a Hessian: never worse than the format's own rule, better where inputs are correlated, and
// the two refinements against what they are to reach.
#include "assay/rounding/calibrated_rounding.h"

#include <algorithm>

#include "assay/base/checked.h"
#include "assay/parallel/threads.h"
#include "assay/rounding/refine.h"
#include "tests/rounding/random_layers.h"

namespace assay::test {
namespace {

struct Outcome : Encoded {
  CalibratedRoundingReport report;
};

Outcome calibrate(const Format& format, const std::vector<float>& weights, std::size_t rows,
                  const Hessian& hessian, const CalibratedRoundingOptions& options = {}) {
  Outcome outcome;
  RoundedMatrix matrix = round_calibrated(format, weights, rows, hessian, options, outcome.report);
  outcome.params = std::move(matrix.params);
  outcome.codes = std::move(matrix.codes);
  return outcome;
}

/// e H e^T of each row, from packed bytes.
Eigen::VectorXd losses(const Format& format, const Encoded& stored, const std::vector<float>& weights,
                       const Hessian& hessian) {
  return row_losses(
      errors(weights, read_back(format, stored, weights.size(), hessian.columns), hessian.columns),
      to_matrix(hessian));
}

/// Rows that share units are kept or replaced together.
std::vector<double> by_granule(const Eigen::VectorXd& rows, std::uint64_t granule) {
  std::vector<double> sums(ceil_divide(static_cast<std::uint64_t>(rows.size()), granule), 0.0);
  for (std::size_t r = 0; r < static_cast<std::size_t>(rows.size()); ++r) sums[r / granule] += rows(index(r));
  return sums;
}

struct MatrixShape {
  std::size_t rows, columns;
};

/// Rows of whole units, and rows that straddle units with a short last unit (33 columns: 32 rows fill whole
/// units, 8 are left; 1000 and 200: 4 rows do, 2 are left).
std::vector<MatrixShape> shapes_for(const Format& format) {
  std::vector<MatrixShape> shapes = {{3, format.misfit(3, 128) ? 512u : 128u}};
  if (!format.misfit(40, 33)) shapes.push_back({40, 33});
  if (format.row_granule(200) > 1) shapes.push_back({6, format.name() == "khq4" ? 1000u : 200u});
  return shapes;
}

// ---- The guard.

TEST(CalibratedRoundingTest, NoRowEverLosesMoreThanPlainRounding) {
  unsigned seed = 0;
  for_each_format(encodes, [&](const Format& format) {
    for (const auto& [rows, columns] : shapes_for(format)) {
      const Inputs kind = kAllInputs[++seed % std::size(kAllInputs)];
      SCOPED_TRACE(std::to_string(columns) + " columns, " + input_name(kind));
      const std::vector<float> weights = gaussian(rows * columns, seed);
      const Hessian hessian = random_hessian(kind, columns, seed);
      const Outcome outcome = calibrate(format, weights, rows, hessian, {.search = {.points = 16}});
      const Eigen::VectorXd plain = losses(format, encode(format, weights, columns), weights, hessian),
                            stored = losses(format, outcome, weights, hessian);
      const auto before = by_granule(plain, format.row_granule(columns)),
                 after = by_granule(stored, format.row_granule(columns));
      for (std::size_t g = 0; g < before.size(); ++g)
        EXPECT_LE(after[g], before[g] * (1 + 1e-12)) << "rows from " << g * format.row_granule(columns);
      EXPECT_NEAR(outcome.report.plain_loss, plain.sum(), 1e-10 * plain.sum());
      EXPECT_NEAR(outcome.report.loss, stored.sum(), 1e-10 * plain.sum());
      EXPECT_EQ(outcome.report.rows, rows);
      std::uint64_t not_better = 0;
      for (std::size_t r = 0; r < rows; ++r)
        not_better += plain(index(r)) > 0 && stored(index(r)) >= plain(index(r)) * (1 - 1e-12) ? 1 : 0;
      EXPECT_EQ(outcome.report.rows_plain, not_better);
    }
  });
}

TEST(CalibratedRoundingTest, CorrelatedInputsLoseClearlyLess) {
  for (const Inputs kind : kCorrelatedInputs)
    for (const char* name : {"khq4", "khw3", "khq3-sym", "mlx2-g32-bf16", "mlx4-g64-bf16", "q4_0", "q8_0",
                             "int6-row", "int4-row-sdclip", "gf16"}) {
      const FormatPtr format = find_format(name);
      const std::vector<float> weights = gaussian(16 * 128, 5);
      const Outcome outcome = calibrate(*format, weights, 16, random_hessian(kind, 128, 6));
      EXPECT_LT(outcome.report.loss, 0.75 * outcome.report.plain_loss) << name << ", " << input_name(kind);
      EXPECT_EQ(outcome.report.rows_plain, 0u) << name << ", " << input_name(kind);
      EXPECT_LT(outcome.report.predicted_gain, 0.75) << name << ", " << input_name(kind);
    }
}

// Straddling rows have fixed parameters and no refitting; they win less, not nothing.
TEST(CalibratedRoundingTest, StraddlingRowsGainToo) {
  for (const char* name : {"khq4", "khw3", "khq4-sym"}) {
    const FormatPtr format = find_format(name);
    for (const auto& [rows, columns] : {MatrixShape{40, 33}, {6, 200}}) {
      const std::vector<float> weights = gaussian(rows * columns, 7);
      const Outcome outcome =
          calibrate(*format, weights, rows, random_hessian(Inputs::correlated, columns, 8));
      EXPECT_LT(outcome.report.loss, 0.75 * outcome.report.plain_loss) << name << " of " << columns;
    }
  }
}

/// Kept as the format's rule has them or as the search does, whichever loses less: what is left without
/// feedback.
TEST(CalibratedRoundingTest, WithoutFeedbackTheSearchSeesTheDiagonalColumnByColumn) {
  for (const auto& [name, rows, columns] : {std::tuple{"khq4", 40u, 33u},
                                            {"khw3", 8u, 128u},
                                            {"mlx4-g64-bf16", 7u, 192u},
                                            {"int6-row", 9u, 50u}}) {
    const FormatPtr format = find_format(name);
    Matrix moments = Matrix::Zero(index(columns), index(columns));
    for (std::size_t c = 0; c < columns; ++c)
      moments(index(c), index(c)) = std::exp2(static_cast<double>(c % 5));
    const Hessian hessian = to_hessian(moments);
    const std::vector<float> weights = gaussian(rows * columns, 9);
    std::vector<float> importance(weights.size());
    for (std::size_t i = 0; i < importance.size(); ++i)
      importance[i] = static_cast<float>(moments(index(i % columns), index(i % columns)));
    Encoded searched = room_for(*format, weights.size(), columns);
    search_units(*format, weights, importance, searched.params, searched.codes);
    const Outcome outcome = calibrate(*format, weights, rows, hessian, {.feedback = false, .search = {}});
    // On a diagonal Hessian the search's own measure is the loss, so every unit it changed is better.
    EXPECT_EQ(outcome.codes, searched.codes) << name;
    EXPECT_EQ(outcome.report.damping, 0) << name;
    EXPECT_LT(outcome.report.loss, outcome.report.plain_loss) << name;
  }
}

TEST(CalibratedRoundingTest, FeedbackBeatsTheSearchAlone) {
  for (const Inputs kind : kCorrelatedInputs) {
    const std::vector<float> weights = gaussian(20 * 128, 10);
    const Hessian hessian = random_hessian(kind, 128, 11);
    const FormatPtr format = find_format("khw3");
    EXPECT_LT(calibrate(*format, weights, 20, hessian, {.refinements = 0, .search = {}}).report.loss,
              calibrate(*format, weights, 20, hessian, {.feedback = false, .search = {}}).report.loss)
        << input_name(kind);
  }
}

// The format's own rule, the search, and a sweep: with parameters fitted on the way where units allow it,
// else under those of the search.
TEST(CalibratedRoundingTest, EveryRowKeepsTheBestOfItsCandidates) {
  for (const Inputs kind : {Inputs::independent, Inputs::correlated, Inputs::dead_columns})
    for (const auto& [name, rows, columns, order] : {std::tuple{"khq4", 20u, 96u, ColumnOrder::groups},
                                                     {"mlx3-g32-bf16", 20u, 64u, ColumnOrder::groups},
                                                     {"khw3", 40u, 33u, ColumnOrder::activation},
                                                     {"int3-row", 20u, 70u, ColumnOrder::activation}}) {
      const bool grouped = order == ColumnOrder::groups;
      Layer layer = plainly_rounded(name, rows, columns, 50);
      const Hessian hessian = random_hessian(kind, columns, 51);
      const std::uint64_t granule = layer.format->row_granule(columns);
      const auto granules_of = [&](const Encoded& stored) {
        return by_granule(losses(*layer.format, stored, layer.weights, hessian), granule);
      };
      std::vector<std::vector<double>> candidates = {granules_of(layer.stored)};
      std::vector<float> importance(layer.weights.size());
      for (std::size_t i = 0; i < importance.size(); ++i)
        importance[i] = static_cast<float>(hessian.at(i % columns, i % columns));
      search_units(*layer.format, layer.weights, importance, layer.stored.params, layer.stored.codes);
      candidates.push_back(granules_of(layer.stored));
      const std::size_t group = grouped ? layer.format->layout(columns).run : 1;
      sweep(layer, factor_hessian(hessian, order, group, 0.01),
            grouped ? GroupFit::on_start : GroupFit::kept);
      candidates.push_back(granules_of(layer.stored));

      const auto kept = granules_of(
          calibrate(*layer.format, layer.weights, rows, hessian, {.refinements = 0, .search = {}}));
      for (std::size_t g = 0; g < kept.size(); ++g) {
        const double best = std::min({candidates[0][g], candidates[1][g], candidates[2][g]});
        EXPECT_NEAR(kept[g], best, 1e-10 * candidates[0][g]) << name << ", " << input_name(kind) << " " << g;
      }
    }
}

TEST(CalibratedRoundingTest, ThreadsDoNotChangeABit) {
  constexpr std::size_t kRows = 150;  // three panels
  for (const auto& [name, columns] :
       {std::pair{"khq4", 96u}, {"khw3", 33u}, {"mlx3-g32-f16", 64u}, {"int6-row", 70u}, {"gf16", 40u}}) {
    const FormatPtr format = find_format(name);
    const std::vector<float> weights = gaussian(kRows * columns, 12);
    const Hessian hessian = random_hessian(Inputs::correlated, columns, 13);
    set_thread_count(1);
    const Outcome one = calibrate(*format, weights, kRows, hessian, {.search = {.points = 16}});
    set_thread_count(2);
    const Outcome two = calibrate(*format, weights, kRows, hessian, {.search = {.points = 16}});
    set_thread_count(0);
    EXPECT_EQ(one.codes, two.codes) << name;
    EXPECT_EQ(pack(*format, one, columns), pack(*format, two, columns)) << name;
    EXPECT_EQ(one.report.to_json(), two.report.to_json()) << name;
  }
}

// Where a row stands in the matrix, and what stands around it, is nothing to it.
TEST(CalibratedRoundingTest, PanelsAreCutWhereUnitsEnd) {
  for (const auto& [name, columns] : {std::pair{"khq4", 33u}, {"khw3", 64u}, {"int6-row", 33u}}) {
    const FormatPtr format = find_format(name);
    constexpr std::size_t kRows = 128;
    const std::vector<float> weights = gaussian(kRows * columns, 14);
    const std::vector<float> end(weights.begin() + static_cast<std::ptrdiff_t>(96 * columns), weights.end());
    const Hessian hessian = random_hessian(Inputs::correlated, columns, 15);
    const CalibratedRoundingOptions options = {.search = {.points = 16}};
    const auto all =
        read_back(*format, calibrate(*format, weights, kRows, hessian, options), weights.size(), columns);
    const auto alone = read_back(*format, calibrate(*format, end, 32, hessian, options), end.size(), columns);
    EXPECT_TRUE(
        std::equal(alone.begin(), alone.end(), all.begin() + static_cast<std::ptrdiff_t>(96 * columns)))
        << name;
  }
}

// ---- Refinement.

TEST(CalibratedRoundingTest, MoreRefinementNeverLosesMore) {
  for (const Inputs kind : kAllInputs)
    for (const auto& [name, rows, columns] : {std::tuple{"khq4", 6u, 128u},
                                              {"khw3", 40u, 33u},
                                              {"mlx2-g32-bf16", 6u, 64u},
                                              {"int4-row", 6u, 60u},
                                              {"khq3-sym", 6u, 64u},
                                              {"gf16", 6u, 30u}}) {
      const FormatPtr format = find_format(name);
      const std::vector<float> weights = gaussian(rows * columns, 16);
      const Hessian hessian = random_hessian(kind, columns, 17);
      double before = 0;
      for (const int refinements : {0, 1, 2, 5}) {
        const double loss =
            calibrate(*format, weights, rows, hessian, {.refinements = refinements, .search = {}})
                .report.loss;
        if (refinements > 0) {
          EXPECT_LE(loss, before * (1 + 1e-10)) << name << ", " << input_name(kind);
        }
        before = loss;
      }
    }
}

// ---- Inputs that are missing.

// What calibration did not see may be alive elsewhere: such weights stay the nearest ones there are.
TEST(CalibratedRoundingTest, ColumnsWithoutInputsKeepTheirNearestValues) {
  for (const char* name : {"khq4", "mlx4-g64-bf16", "q4_0", "int6-row", "int6-row-sdclip", "gf16"}) {
    constexpr std::size_t kRows = 12, kColumns = 128;
    Layer layer = plainly_rounded(name, kRows, kColumns, 26);
    const Hessian hessian = random_hessian(Inputs::dead_columns, kColumns, 27);
    for (const int refinements : {0, 2}) {
      const Outcome outcome =
          calibrate(*layer.format, layer.weights, kRows, hessian, {.refinements = refinements, .search = {}});
      EXPECT_LT(outcome.report.loss, outcome.report.plain_loss);
      layer.stored = outcome;
      const std::vector<Code> nearest = nearest_codes(layer);
      std::size_t away = 0;
      for (std::size_t i = 0; i < nearest.size(); ++i)
        away += hessian.at(i % kColumns, i % kColumns) == 0 && layer.stored.codes[i] != nearest[i] ? 1 : 0;
      EXPECT_EQ(away, 0u) << name << ", refinements " << refinements;
    }
  }
}

TEST(CalibratedRoundingTest, FewerTokensThanColumnsSucceedWithTheShrinkageSaid) {
  constexpr std::size_t kTokens = 20, kColumns = 64;
  const Hessian hessian = make_hessian(random_inputs(kTokens, kColumns, 28), kTokens, kColumns);
  const std::vector<float> weights = gaussian(10 * kColumns, 29);
  for (const char* name : {"khq4", "int6-row"}) {
    const Outcome some = calibrate(*find_format(name), weights, 10, hessian);
    EXPECT_EQ(some.report.damping, 0.01);
    EXPECT_EQ(some.report.tokens_per_column, 20.0 / 64.0);
    EXPECT_LT(some.report.loss, some.report.plain_loss);
    const Outcome none = calibrate(*find_format(name), weights, 10, hessian, {.damping = 0, .search = {}});
    EXPECT_LE(none.report.damping, 1e-3) << name;
    EXPECT_GT(none.report.shrinkage, 0.3) << name;  // what makes the moments of twenty tokens definite
    EXPECT_LT(none.report.loss, none.report.plain_loss);
  }
}

// A run goes on where a layer's inputs are of no use, and says so.
TEST(CalibratedRoundingTest, HopelessHessiansLeaveTheSearchAndInputsOfZeroTheWeights) {
  const std::vector<float> weights = gaussian(4 * 32, 30);
  Matrix indefinite = Matrix::Constant(32, 32, 9.0);
  indefinite.diagonal().setOnes();
  for (const char* name : {"khq4", "int6-row"}) {
    const FormatPtr format = find_format(name);
    const Outcome searched = calibrate(*format, weights, 4, to_hessian(indefinite));
    EXPECT_NE(searched.report.without_inputs.find("not positive definite"), std::string::npos);
    EXPECT_EQ(searched.report.damping, 0);
    const Outcome blind = calibrate(*format, weights, 4, to_hessian(Matrix::Zero(32, 32)));
    EXPECT_EQ(blind.report.without_inputs, kZeroInputs);
    EXPECT_EQ(blind.codes, round_by_weights(*format, weights, 4, 32).codes);
    EXPECT_EQ(blind.report.rows, 4u);
    EXPECT_TRUE(calibrate(*format, weights, 4, random_hessian(Inputs::correlated, 32, 3))
                    .report.without_inputs.empty());
  }
}

/// Inputs that all point one way: what is left of a text of one word.
Hessian one_direction(std::size_t columns, unsigned seed, std::uint64_t tokens = 1'000'000) {
  const Matrix direction = random_matrix(1, columns, seed);
  return to_hessian(direction.transpose() * direction, tokens);
}

std::vector<double> squares(const Format& format, const Encoded& stored, const std::vector<float>& weights,
                            std::size_t columns) {
  const Matrix error = errors(weights, read_back(format, stored, weights.size(), columns), columns);
  return by_granule(error.rowwise().squaredNorm(), format.row_granule(columns));
}

TEST(CalibratedRoundingTest, NoRowStraysFarFromItsWeights) {
  std::uint64_t guarded = 0;
  for_each_format(encodes, [&](const Format& format) {
    for (const auto& [rows, columns] : shapes_for(format)) {
      const std::vector<float> weights = gaussian(rows * columns, 61);
      const Outcome outcome =
          calibrate(format, weights, rows, one_direction(columns, 62), {.search = {.points = 8}});
      const auto plain = squares(format, encode(format, weights, columns), weights, columns),
                 stored = squares(format, outcome, weights, columns);
      for (std::size_t g = 0; g < plain.size(); ++g)
        EXPECT_LE(stored[g], kFarthest * plain[g] * (1 + 1e-9)) << columns << " columns, rows " << g;
      guarded += outcome.report.rows_guarded;
    }
  });
  EXPECT_GT(guarded, 0u);
}

TEST(CalibratedRoundingTest, TheGuardIsIdleOnInputsThatSpanTheColumns) {
  for (const Inputs kind : {Inputs::independent, Inputs::correlated, Inputs::blocks})
    for (const char* name : {"mlx2-g32-bf16", "khw3", "khq4", "mlx5-g32-bf16", "int6-row"}) {
      const std::vector<float> weights = gaussian(32 * 128, 63);
      const Outcome outcome = calibrate(*find_format(name), weights, 32, random_hessian(kind, 128, 64));
      EXPECT_EQ(outcome.report.rows_guarded, 0u) << name << ", " << input_name(kind);
      EXPECT_EQ(outcome.report.shrinkage, 0) << name << ", " << input_name(kind);
    }
}

// A thousand tokens of which a few are new: hardly more than the weights is used.
TEST(CalibratedRoundingTest, RepeatedTokensCountOnce) {
  const FormatPtr format = find_format("khq4");
  const std::vector<float> weights = gaussian(16 * 128, 65);
  const auto total = [&](const Encoded& stored) {
    const auto rows = squares(*format, stored, weights, 128);
    return std::accumulate(rows.begin(), rows.end(), 0.0);
  };
  RoundedMatrix by_weights = round_by_weights(*format, weights, 16, 128);
  const double least = total({by_weights.params, by_weights.codes});
  const Outcome trusting = calibrate(*format, weights, 16, one_direction(128, 66, 2048));
  const Outcome wary =
      calibrate(*format, weights, 16, one_direction(128, 66, 2048), {.distinct_share = 0.004});
  EXPECT_NEAR(wary.report.effective_tokens, 8.2, 0.1);
  EXPECT_GT(wary.report.shrinkage, 0.8);
  EXPECT_GT(total(trusting), 1.5 * least);
  EXPECT_LT(total(wary), 1.15 * least);
}

TEST(CalibratedRoundingTest, ConstantRowsAndDeadColumnsAreHeld) {
  for_each_format(encodes, [&](const Format& format) {
    const std::size_t columns = shapes_for(format).front().columns;
    std::vector<float> weights = gaussian(4 * columns, 67);
    std::fill_n(weights.begin(), columns, 0.25f);
    std::fill_n(weights.begin() + static_cast<std::ptrdiff_t>(columns), columns, 0.0f);
    const Outcome outcome = calibrate(format, weights, 4, random_hessian(Inputs::dead_columns, columns, 68),
                                      {.search = {.points = 8}});
    EXPECT_TRUE(outcome.report.without_inputs.empty());
    for (const float value : read_back(format, outcome, weights.size(), columns))
      ASSERT_TRUE(std::isfinite(value));
  });
}

TEST(CalibratedRoundingTest, WeightsThatTheFormatCannotHoldAreErrors) {
  std::vector<float> weights = gaussian(4 * 32, 31);
  weights[70] = 1e9f;
  const Hessian hessian = random_hessian(Inputs::correlated, 32, 32);
  EXPECT_ERROR(calibrate(*find_format("khq4"), weights, 4, hessian), "khq4");
  weights[70] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_ERROR(calibrate(*find_format("khq4"), weights, 4, hessian), "70");
}

// On inputs without correlations error feedback fits noise of the sample, and loses on all others: about
// d / 2n more than plain rounding under the same parameters.
TEST(CalibratedRoundingTest, OverfittingInflatesTheHeldOutLossAsPredicted) {
  constexpr std::size_t kRows = 512, kColumns = 128;
  for (const std::size_t tokens : {1024u, 2048u, 4096u}) {
    const Hessian hessian = make_hessian(random_inputs(tokens, kColumns, 33), tokens, kColumns);
    Layer layer = plainly_rounded("int8-row-f32", kRows, kColumns, 34);
    for (Params& params : layer.stored.params) params.scale *= 1.2f;  // room for what is taken up
    layer.stored.codes = nearest_codes(layer);
    const double naive = errors(layer).squaredNorm();  // the expected Hessian is the identity
    sweep(layer, factor_hessian(hessian, ColumnOrder::activation, 1, 1e-4));
    const double predicted = static_cast<double>(kColumns) / (2.0 * static_cast<double>(tokens));
    EXPECT_NEAR(errors(layer).squaredNorm() / naive - 1, predicted, 0.2 * predicted) << tokens << " tokens";

    // The guard sees the fitted Hessian alone and cannot know; it does not make things worse either.
    const FormatPtr format = find_format("int8-row-f32");
    const Outcome searched =
        calibrate(*format, layer.weights, kRows, hessian, {.feedback = false, .search = {}});
    const Outcome fed = calibrate(*format, layer.weights, kRows, hessian, {.refinements = 0, .search = {}});
    const auto held_out = [&](const Outcome& outcome) {
      return errors(layer.weights, read_back(*format, outcome, layer.weights.size(), kColumns), kColumns)
          .squaredNorm();
    };
    const double inflation = held_out(fed) / held_out(searched) - 1;
    EXPECT_GT(inflation, 0) << tokens << " tokens";
    EXPECT_LT(inflation, 1.2 * predicted) << tokens << " tokens";
  }
}

// ---- What else is stored and said.

TEST(CalibratedRoundingTest, PaddingHoldsTheCodesOfZero) {
  for (const char* name : {"khq4", "khw3", "khq4-sym"})
    for (const bool feedback : {true, false})
      for (const int refinements : {0, 2}) {
        const FormatPtr format = find_format(name);
        const std::vector<float> weights = gaussian(5 * 33, 35);  // 165 weights of 192
        const Outcome outcome = calibrate(*format, weights, 5, random_hessian(Inputs::correlated, 33, 36),
                                          {.feedback = feedback, .refinements = refinements, .search = {}});
        ASSERT_EQ(outcome.codes.size(), 192u);
        ASSERT_LT(outcome.report.loss, outcome.report.plain_loss);
        const float zero = 0;
        Code code = -1;
        float ignored = 0;
        format->round({&outcome.params.back(), 1}, {&zero, 1}, {&code, 1}, {&ignored, 1});
        for (std::size_t i = 165; i < 192; ++i) EXPECT_EQ(outcome.codes[i], code) << name << " " << i;
      }
}

TEST(CalibratedRoundingTest, ClippedWeightsAreCounted) {
  constexpr std::size_t kRows = 70, kColumns = 66;  // two panels, units across rows
  const FormatPtr format = find_format("khw3");
  const std::vector<float> weights = gaussian(kRows * kColumns, 37);
  const Outcome outcome =
      calibrate(*format, weights, kRows, random_hessian(Inputs::correlated, kColumns, 38));
  std::uint64_t clipped = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto [low, high] = format->range(outcome.params[i / 32]);
    clipped += weights[i] < low || weights[i] > high ? 1 : 0;
  }
  EXPECT_EQ(outcome.report.clipped, clipped);
  EXPECT_GT(clipped, 0u);
  EXPECT_EQ(outcome.report.weights, weights.size());
}

TEST(CalibratedRoundingTest, PlainRoundingThatIsPerfectIsNotCountedAsKept) {
  // Multiples of the scale that the rule will choose.
  std::vector<float> weights(3 * 32);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 16);
  const Outcome outcome =
      calibrate(*find_format("khq4"), weights, 3, random_hessian(Inputs::correlated, 32, 39));
  EXPECT_EQ(outcome.report.plain_loss, 0);
  EXPECT_EQ(outcome.report.loss, 0);
  EXPECT_EQ(outcome.report.rows_plain, 0u);
  EXPECT_EQ(outcome.codes, encode(*find_format("khq4"), weights, 32).codes);
}

TEST(CalibratedRoundingTest, ReportsAddUpAndAreWrittenDown) {
  CalibratedRoundingReport total = {.damping = 0.1, .predicted_gain = 0.5, .tokens_per_column = 4};
  total.add({.plain_loss = 2,
             .loss = 1,
             .rows = 3,
             .rows_plain = 1,
             .clipped = 5,
             .weights = 60,
             .rows_guarded = 2});
  total.add({.plain_loss = 4, .loss = 0.5, .rows = 1, .rows_plain = 0, .clipped = 2, .weights = 20});
  EXPECT_EQ(total.weights, 80u);
  EXPECT_EQ(total.to_json(), OrderedJson({{"plain_loss", 6.0},
                                          {"loss", 1.5},
                                          {"rows", 4},
                                          {"rows_plain", 1},
                                          {"rows_guarded", 2},
                                          {"damping", 0.1},
                                          {"predicted_gain", 0.5},
                                          {"tokens_per_column", 4.0},
                                          {"tokens", 0},
                                          {"effective_tokens", 0.0},
                                          {"shrinkage", 0.0},
                                          {"clipped", 7}}));
}

TEST(CalibratedRoundingTest, ReportsOfAStackKeepTheWorstMatrix) {
  CalibratedRoundingReport stack;
  stack.add_matrix({.loss = 1,
                    .damping = 0.2,
                    .predicted_gain = 0.9,
                    .tokens_per_column = 2,
                    .tokens = 128,
                    .weights = 30});
  stack.add_matrix({.loss = 2,
                    .damping = 0.1,
                    .predicted_gain = 0.5,
                    .tokens_per_column = 1,
                    .tokens = 64,
                    .weights = 10});
  EXPECT_EQ(stack.loss, 3);
  EXPECT_EQ(stack.damping, 0.2);
  EXPECT_DOUBLE_EQ(stack.predicted_gain, 0.8);
  EXPECT_EQ(stack.tokens_per_column, 1);
  EXPECT_EQ(stack.tokens, 64u);
  EXPECT_EQ(stack.weights, 40u);
}

}  // namespace
}  // namespace assay::test
