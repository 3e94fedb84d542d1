// Search and error feedback on the sub-blocks of GGUF superblocks: what moves, what may not, what it is
// worth.
#include "assay/rounding/calibrated_rounding.h"
#include "tests/rounding/random_layers.h"
#include "tests/rounding/searched.h"

namespace assay::test {
namespace {

constexpr const char* kSearchedNames[] = {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k"};

/// Do all units of a record share its two numbers, as the bytes do?
void expect_shared(const Format& format, const std::vector<Params>& params,
                   const std::vector<Params>& plain) {
  const std::size_t units = format.layout(256).units_per_record;
  for (std::size_t u = 0; u < params.size(); ++u) {
    const SubScale& first = plain[u / units * units].sub;
    ASSERT_EQ(params[u].sub.scale_unit, first.scale_unit) << "unit " << u;
    ASSERT_EQ(params[u].sub.minimum_unit, first.minimum_unit) << "unit " << u;
  }
}

/// Rows of very different size, so that the two superblocks of a row have different scales.
std::vector<float> uneven_weights(std::size_t rows, std::size_t columns, unsigned seed) {
  std::vector<float> weights = gaussian(rows * columns, seed);
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (i % columns < columns / 2) weights[i] *= 0.25f;
  return weights;
}

TEST(Superblocks, SearchMovesSubBlocksOnTheirSharedGrid) {
  for (const char* name : kSearchedNames) {
    SCOPED_TRACE(name);
    const FormatPtr format = find_format(name);
    const std::vector<float> weights = uneven_weights(32, 512, 1);
    const std::vector<float> importance = log_normal(weights.size(), 2, 1.0f);
    const Encoded plain = encode(*format, weights, 512);
    const Found found = search(*format, weights, 512, importance);
    expect_shared(*format, found.params, plain.params);
    EXPECT_GT(found.report.improved, found.report.units / 2);
    EXPECT_LT(found.report.loss, 0.95 * found.report.reference_loss);
    EXPECT_EQ(read_back(*format, found, weights.size(), 512), decode(*format, found, weights.size()));
  }
}

TEST(Superblocks, SweepsFitSubBlocksOnTheirSharedGrid) {
  for (const char* name : kSearchedNames) {
    SCOPED_TRACE(name);
    Layer layer{find_format(name), 6, 512, uneven_weights(6, 512, 3), {}};
    layer.stored = encode(*layer.format, layer.weights, 512);
    const Encoded plain = layer.stored;
    const Matrix moments = random_second_moments(Inputs::correlated, 512, 4);
    const double before = row_losses(errors(layer), moments).sum();
    const std::size_t run = layer.format->layout(512).run;
    sweep(layer, factor_hessian(to_hessian(moments), ColumnOrder::groups, run, 0.01), GroupFit::on_start);
    expect_shared(*layer.format, layer.stored.params, plain.params);
    EXPECT_LT(row_losses(errors(layer), moments).sum(), 0.6 * before);
  }
}

TEST(Superblocks, CalibrationLosesClearlyLess) {
  for (const char* name : {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs"}) {
    SCOPED_TRACE(name);
    const FormatPtr format = find_format(name);
    const std::vector<float> weights = uneven_weights(8, 512, 5);
    const Matrix moments = random_second_moments(Inputs::correlated, 512, 6);
    CalibratedRoundingReport report;
    const RoundedMatrix rounded = round_calibrated(*format, weights, 8, to_hessian(moments), {}, report);
    EXPECT_TRUE(report.without_inputs.empty()) << report.without_inputs;
    EXPECT_EQ(report.rows_plain, 0u);
    EXPECT_LT(report.loss, 0.6 * report.plain_loss);
    const std::vector<float> stored =
        read_back(*format, {rounded.params, rounded.codes}, weights.size(), 512);
    EXPECT_NEAR(row_losses(errors(weights, stored, 512), moments).sum(), report.loss,
                1e-9 * report.plain_loss);
    expect_shared(*format, rounded.params, encode(*format, weights, 512).params);
  }
}

}  // namespace
}  // namespace assay::test
