// Scale search: never worse than the published rule, near the optimum where that can be computed, and blind
// to order, padding and units of measurement. Losses are computed here from unpacked bytes.
#include "assay/rounding/scale_search.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/isa.h"
#include "tests/rounding/searched.h"

namespace assay::test {
namespace {

// Property 1, and the parameters and codes are legal.
TEST(ScaleSearch, NeverAboveThePublishedRule) {
  for_each_format(encodes, [](const Format& format) {
    const Layout layout = format.layout(kColumns);
    for (const auto& [weights_name, weights] : hard_weights()) {
      Encoded plain;
      try {
        plain = encode(format, weights, kColumns);
      } catch (const Error&) {  // beyond the format, for the search too
        EXPECT_THROW(search(format, weights, kColumns), Error) << weights_name;
        continue;
      }
      const std::vector<float> plain_weights = decode(format, plain, weights.size());
      for (const auto& [importance_name, importance] : hard_importance()) {
        const Found found = search(format, weights, kColumns, importance);
        const std::vector<float> stored = decode(format, found, weights.size());
        const std::vector<double> used = effective(importance, weights.size(), layout.run);
        for (std::size_t first = 0; first < weights.size(); first += layout.run) {
          const std::size_t end = first + layout.run;
          ASSERT_LE(weighted_loss(weights, stored, used, first, end),
                    weighted_loss(weights, plain_weights, used, first, end))
              << weights_name << ", importance " << importance_name << ", unit from " << first;
          if (!layout.has_params) continue;
          std::string why;
          ASSERT_TRUE(format.valid(found.params[first / layout.run],
                                   std::span(found.codes).subspan(first, layout.run), &why))
              << weights_name << ": " << why;
        }
      }
    }
  });
}

TEST(ScaleSearch, GivesTheSameBitsOnEveryInstructionSet) {
  for_each_format(encodes, [](const Format& format) {
    const std::vector<float> weights = gaussian(3 * kColumns, 8);
    expect_same_on_every_isa([&] {
      const Found found = search(format, weights, kColumns, log_normal(weights.size(), 4, 2.0f));
      return std::pair(found.codes, pack(format, found, kColumns));
    });
  });
}

// Property 2: the bytes mean what was scored.
TEST(ScaleSearch, ScoresWhatIsStored) {
  for_each_format(searchable, [](const Format& format) {
    const std::vector<float> weights = student_t(8 * kColumns, 5, 5.0);
    const std::vector<float> importance = log_normal(weights.size(), 6, 1.0f);
    const Found found = search(format, weights, kColumns, importance);
    const Encoded again = unpack(format, pack(format, found, kColumns), weights.size(), kColumns);
    EXPECT_EQ(again.codes, found.codes);
    const std::vector<float> stored = decode(format, again, weights.size());
    const std::vector<double> used = effective(importance, weights.size(), format.layout(kColumns).run);
    EXPECT_NEAR(found.report.loss, weighted_loss(weights, stored, used), 1e-12 * found.report.loss);
    EXPECT_EQ(found.report.units, found.params.size());
    EXPECT_LT(found.report.loss, found.report.reference_loss);
    EXPECT_GT(found.report.improved, 0u);

    // A unit that the search changed has the nearest codes under its stored parameters.
    const Encoded plain = encode(format, weights, kColumns);
    const std::size_t run = format.layout(kColumns).run;
    std::vector<Code> codes(run);
    std::vector<float> out(run);
    for (std::size_t unit = 0; unit < found.params.size(); ++unit) {
      EXPECT_TRUE(same_bits(again.params[unit].scale, found.params[unit].scale));
      EXPECT_TRUE(same_bits(again.params[unit].bias, found.params[unit].bias));
      if (plain.params[unit].scale == found.params[unit].scale &&
          plain.params[unit].bias == found.params[unit].bias)
        continue;
      format.round(std::vector<Params>(run, found.params[unit]), std::span(weights).subspan(unit * run, run),
                   codes, out);
      EXPECT_TRUE(std::equal(codes.begin(), codes.end(),
                             found.codes.begin() + static_cast<std::ptrdiff_t>(unit * run)))
          << "unit " << unit;
    }
  });
}

// With a bf16 bias, storage moves a unit by half a step at 8 bits: whoever scores parameters before they are
// rounded cannot choose among such candidates.
TEST(ScaleSearch, ChoosesAmongRoundedParameters) {
  const std::vector<float> weights = gaussian(256 * kColumns, 7);
  const SearchReport report = search(*find_format("mlx8-g64-bf16"), weights, kColumns).report;
  EXPECT_LT(report.loss, 0.37 * report.reference_loss);
}

// Counting codes from the other end rounds another bias. Here the reference's scales are all positive.
TEST(ScaleSearch, TriesBothSignsOfTheScale) {
  std::vector<float> weights = gaussian(64 * kColumns, 37);
  for (float& weight : weights) weight -= 6.0f;
  const Format& format = *find_format("mlx8-g64-bf16");
  const auto negative = [](const Encoded& encoded) {
    return std::count_if(encoded.params.begin(), encoded.params.end(),
                         [](const Params& params) { return params.scale < 0; });
  };
  EXPECT_EQ(negative(encode(format, weights, kColumns)), 0);
  EXPECT_GT(negative(search(format, weights, kColumns)), 20);
}

/// The least loss of any scale > 0 with nearest codes first..last around zero: codes change only where
/// w / scale passes a half, so a sweep over those scales meets every set of codes, each with its closed form.
double best_of_all_scales(std::span<const float> weights, std::span<const double> importance, int first,
                          int last) {
  struct Change {
    double scale;
    std::size_t element;
    int code;  // before the change; it moves away from zero
  };
  std::vector<Change> changes;
  double squares = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double w = weights[i];
    squares += importance[i] * (w * w);
    const int steps = w > 0 ? last : -first;
    for (int code = 0; code < steps; ++code) changes.push_back({std::fabs(w) / (code + 0.5), i, code});
  }
  std::sort(changes.begin(), changes.end(),
            [](const Change& a, const Change& b) { return a.scale > b.scale; });
  double product = 0, code_squares = 0, best = squares;
  for (const Change& change : changes) {
    product += importance[change.element] * std::fabs(weights[change.element]);
    code_squares += importance[change.element] * (2.0 * change.code + 1.0);
    best = std::min(best, squares - product * product / code_squares);
  }
  return best;
}

/// Groups of 32 from four distributions.
std::vector<float> mixed_groups(std::size_t groups) {
  const std::size_t quarter = groups / 4 * 32;
  std::mt19937 generator(8);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> weights(quarter);
  for (float& weight : weights) weight = uniform(generator);
  for (const auto& more : {gaussian(quarter, 9), student_t(quarter, 10, 4.0), log_normal(quarter, 11, 0.5f)})
    weights.insert(weights.end(), more.begin(), more.end());
  return weights;
}

// Property 3, in formats whose storage takes little part in two percent: every one of ten thousand groups.
// With importance a few weights decide and single groups may miss more, all together hardly.
TEST(ScaleSearch, WithinTwoPercentOfTheExactOptimum) {
  struct Case {
    const char* format;
    int first, last;
    bool negative;
  };
  constexpr std::size_t kRun = 32;
  const std::vector<float> weights = mixed_groups(2500);
  for (const Case& tried : {Case{"int4-row-f32", -7, 7, false}, Case{"int3-row-f32", -3, 3, false},
                            Case{"khq4-sym", -8, 7, false}, Case{"q4_0", -8, 7, true}})
    for (const bool weighted : {false, true}) {
      SCOPED_TRACE(tried.format);
      const std::vector<float> importance = log_normal(weights.size(), 12, weighted ? 1.0f : 0.0f);
      const std::vector<double> used(importance.begin(), importance.end());
      const Format& format = *find_format(tried.format);
      const Found found = search(format, weights, kRun, importance);
      const std::vector<float> stored = decode(format, found, weights.size());
      double sum = 0;
      for (std::size_t first = 0; first < weights.size(); first += kRun) {
        const auto group = std::span(weights).subspan(first, kRun);
        const auto h = std::span(used).subspan(first, kRun);
        double best = best_of_all_scales(group, h, tried.first, tried.last);
        if (tried.negative) best = std::min(best, best_of_all_scales(group, h, -tried.last, -tried.first));
        const double loss = weighted_loss(weights, stored, used, first, first + kRun);
        ASSERT_TRUE(weighted || loss <= 1.02 * best) << "group " << first / kRun << ": " << loss / best;
        ASSERT_GE(loss, 0.995 * best) << "the oracle is beaten, so it is wrong";
        sum += best;
      }
      EXPECT_LE(found.report.loss, 1.002 * sum);
    }
}

/// Least loss from a dense grid of steps and biases, each with the closed form of its codes.
double best_of_dense_grid(std::span<const float> weights, std::span<const double> importance, int levels) {
  const auto [low, high] = std::minmax_element(weights.begin(), weights.end());
  const double range = static_cast<double>(*high) - static_cast<double>(*low);
  double best = std::numeric_limits<double>::infinity();
  for (double width = 0.04; width < 1.2; width *= 1.05)
    for (double start = -0.1; start < 1.0 - 0.5 * width; start += 0.025) {
      const double scale = width * range / levels, bias = *low + start * range;
      double h = 0, hq = 0, hqq = 0, hw = 0, hqw = 0, hww = 0;
      for (std::size_t i = 0; i < weights.size(); ++i) {
        const double w = weights[i];
        const double q = std::clamp(std::nearbyint((w - bias) / scale), 0.0, static_cast<double>(levels));
        h += importance[i];
        hq += importance[i] * q;
        hqq += importance[i] * q * q;
        hw += importance[i] * w;
        hqw += importance[i] * q * w;
        hww += importance[i] * w * w;
      }
      const double qq = hqq - hq * hq / h, qw = hqw - hq * hw / h, ww = hww - hw * hw / h;
      best = std::min(best, qq > 1e-9 * hqq ? ww - qw * qw / qq : ww);
    }
  return best;
}

// The same with a free bias, where no exact optimum is at hand.
TEST(ScaleSearch, NearADenseGridOfScalesAndBiases) {
  for (const char* name : {"khw3", "mlx2-g64-f16", "mlx2-g32-f32", "mlx1-g64-f32"})
    for (const float spread : {0.0f, 1.0f, 2.0f}) {
      const Format& format = *find_format(name);
      const std::size_t run = format.layout(kColumns).run;
      const std::vector<float> weights = student_t(12 * kColumns, 40, 5.0);
      const std::vector<float> importance = log_normal(weights.size(), 41, spread);
      const std::vector<double> used(importance.begin(), importance.end());
      double sum = 0;
      for (std::size_t first = 0; first < weights.size(); first += run)
        sum += best_of_dense_grid(std::span(weights).subspan(first, run), std::span(used).subspan(first, run),
                                  format.affine()->codes - 1);
      EXPECT_LE(search(format, weights, kColumns, importance).report.loss, 1.01 * sum)
          << name << ", importance spread by " << spread;
    }
}

/// Minimum of a convex function of one variable.
template <class Function>
double minimiser(const Function& f, double low, double high) {
  for (int i = 0; i < 200; ++i) {
    const double third = (high - low) / 3;
    (f(low + third) < f(high - third) ? high : low) =
        f(low + third) < f(high - third) ? high - third : low + third;
  }
  return (low + high) / 2;
}

// Property 4: weights so close to a grid that their codes are known. Scale and bias are then those of a
// numerical search over both with these codes.
TEST(ScaleSearch, ClosedFormIsTheMinimum) {
  for (const char* name : {"mlx4-g32-f32", "mlx2-g64-f32", "int4-row-f32"}) {
    SCOPED_TRACE(name);
    const Format& format = *find_format(name);
    const AffineView view = *format.affine();
    const std::size_t run = format.layout(64).run;
    const std::vector<float> noise = gaussian(run, 12, 0.02f), importance = log_normal(run, 13, 1.0f);
    std::vector<float> weights(run);
    std::vector<double> codes(run);
    for (std::size_t i = 0; i < run; ++i) {
      codes[i] = view.first_code + static_cast<int>(5 * i) % view.codes;
      weights[i] = static_cast<float>(0.37 * codes[i] + (view.free_bias ? -1.7 : 0.0)) + noise[i];
    }
    const auto loss = [&](double scale, double bias) {
      double sum = 0;
      for (std::size_t i = 0; i < run; ++i) {
        const double error = weights[i] - (scale * codes[i] + bias);
        sum += importance[i] * error * error;
      }
      return sum;
    };
    const auto best_bias = [&](double scale) {
      if (!view.free_bias) return 0.0;
      return minimiser([&](double bias) { return loss(scale, bias); }, -3.0, 1.0);
    };
    const double scale = minimiser([&](double s) { return loss(s, best_bias(s)); }, 0.2, 0.5);
    const double bias = best_bias(scale);

    // One round, from far away: a second would mend what the first gets wrong.
    const Found found = search(format, weights, run, importance, {.points = 8, .refinements = 1});
    // Codes may be counted from the other end.
    const bool mirrored = found.params[0].scale < 0;
    const double found_scale = std::fabs(found.params[0].scale);
    const double found_bias = found.params[0].bias - (mirrored ? found_scale * (view.codes - 1) : 0.0);
    EXPECT_NEAR(found_scale, scale, 2e-7);
    EXPECT_NEAR(found_bias, bias, 6e-7);
    EXPECT_NEAR(found.report.loss, loss(scale, bias), 1e-6 * found.report.loss);
  }
}

// Property 5. Powers of two that keep parameters normal.
TEST(ScaleSearch, FollowsPowersOfTwo) {
  for_each_format(searchable, [](const Format& format) {
    const std::vector<float> weights = student_t(8 * kColumns, 14, 5.0);
    const std::vector<float> importance = log_normal(weights.size(), 15, 1.0f);
    const Found found = search(format, weights, kColumns, importance);
    for (const float factor : {0x1p-3f, 2.0f, 0x1p6f}) {
      std::vector<float> scaled = weights, scaled_importance = importance;
      for (float& weight : scaled) weight *= factor;
      for (float& h : scaled_importance) h *= 0x1p20f / factor;
      const Found other = search(format, scaled, kColumns, scaled_importance);
      EXPECT_EQ(other.codes, found.codes) << factor;
      for (std::size_t unit = 0; unit < found.params.size(); ++unit) {
        EXPECT_EQ(other.params[unit].scale, factor * found.params[unit].scale);
        EXPECT_EQ(other.params[unit].bias, factor * found.params[unit].bias);
      }
    }
  });
}

// Property 6.
TEST(ScaleSearch, PermutesWithTheWeights) {
  for_each_format(searchable, [](const Format& format) {
    const std::size_t run = format.layout(kColumns).run;
    const std::vector<float> weights = student_t(8 * kColumns, 16, 5.0);
    const std::vector<float> importance = log_normal(weights.size(), 17, 1.0f);
    const Found found = search(format, weights, kColumns, importance);
    std::vector<std::size_t> order(weights.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::mt19937 generator(18);
    for (std::size_t first = 0; first < weights.size(); first += run)
      std::shuffle(order.begin() + static_cast<std::ptrdiff_t>(first),
                   order.begin() + static_cast<std::ptrdiff_t>(first + run), generator);
    std::vector<float> permuted(weights.size()), permuted_importance(weights.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      permuted[i] = weights[order[i]];
      permuted_importance[i] = importance[order[i]];
    }
    const Found other = search(format, permuted, kColumns, permuted_importance);
    for (std::size_t i = 0; i < order.size(); ++i)
      ASSERT_EQ(other.codes[i], found.codes[order[i]]) << "element " << i;
    for (std::size_t unit = 0; unit < found.params.size(); ++unit)
      EXPECT_EQ(other.params[unit].scale, found.params[unit].scale);
  });
}

// Property 7. A short last unit, here after a whole one, is a whole one whose other weights, inside its
// range, do not matter. Zero lies outside the range of two of the three, so padding would show.
TEST(ScaleSearch, PaddingTakesNoPart) {
  const auto flat = [](const Format& f) { return searchable(f) && f.layout(1).share == Share::run_flat; };
  for_each_format(flat, [](const Format& format) {
    const std::size_t run = format.layout(1).run;
    for (const float shift : {0.0f, 6.0f, -6.0f})
      for (std::size_t n = 1; n < run; ++n) {
        SCOPED_TRACE(std::to_string(n) + " weights around " + std::to_string(shift));
        std::vector<float> weights = gaussian(run + n, static_cast<unsigned>(100 + n));
        for (float& weight : weights) weight += shift;
        std::vector<float> importance = log_normal(run + n, static_cast<unsigned>(200 + n), 1.0f);
        const Found found = search(format, weights, run + n, importance);
        ASSERT_EQ(found.params.size(), 2u);
        ASSERT_EQ(found.codes.size(), 2 * run);
        weights.resize(2 * run, weights[run]);
        importance.resize(2 * run, 0.0f);
        const Found whole = search(format, weights, run, importance, {.importance_floor = 0.0});
        EXPECT_EQ(found.params[1].scale, whole.params[1].scale);
        EXPECT_EQ(found.params[1].bias, whole.params[1].bias);
        const auto pads = found.codes.end() - static_cast<std::ptrdiff_t>(run - n);
        EXPECT_TRUE(std::equal(found.codes.begin(), pads, whole.codes.begin()));
        EXPECT_NEAR(found.report.loss, whole.report.loss, 1e-12 * whole.report.loss);
        if (found.report.improved < 2) continue;
        std::vector<Code> of_zero(run - n);
        std::vector<float> ignored(run - n);
        format.round(std::vector<Params>(run - n, found.params[1]), std::vector<float>(run - n, 0.0f),
                     of_zero, ignored);
        EXPECT_TRUE(std::equal(pads, found.codes.end(), of_zero.begin()));
      }
  });
}

}  // namespace
}  // namespace assay::test
