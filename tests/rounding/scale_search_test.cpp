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

#include "tests/formats/format_helpers.h"
#include "tests/isa.h"

namespace assay::test {
namespace {

constexpr std::size_t kColumns = 128;  // whole units of every format

bool searchable(const Format& format) {
  return format.can_encode() && format.affine().has_value() && format.affine()->searchable;
}

struct Found : Encoded {
  SearchReport report;
};

Found search(const Format& format, const std::vector<float>& weights, std::size_t columns,
             const std::vector<float>& importance = {}, const ScaleSearchOptions& options = {}) {
  Found found{room_for(format, weights.size(), columns), {}};
  search_units(format, weights, importance, found.params, found.codes, options, &found.report);
  return found;
}

/// The importance that a unit is searched with: 1 where there is none at all, a thousandth of the mean added
/// where there is some.
std::vector<double> effective(const std::vector<float>& importance, std::size_t n, std::size_t run) {
  std::vector<double> used(n, 1.0);
  if (importance.empty()) return used;
  for (std::size_t first = 0; first < n; first += run) {
    const std::size_t end = std::min(first + run, n);
    double sum = 0;
    bool zeros = false;
    for (std::size_t i = first; i < end; ++i) {
      sum += importance[i];
      zeros |= importance[i] == 0.0f;
    }
    const double floor = zeros ? 1e-3 * sum / static_cast<double>(end - first) : 0.0;
    for (std::size_t i = first; i < end; ++i) used[i] = sum == 0 ? 1.0 : importance[i] + floor;
  }
  return used;
}

double weighted_loss(const std::vector<float>& weights, const std::vector<float>& stored,
                     const std::vector<double>& importance, std::size_t first, std::size_t end) {
  double sum = 0;
  for (std::size_t i = first; i < end; ++i) {
    const double error = static_cast<double>(weights[i]) - static_cast<double>(stored[i]);
    sum += importance[i] * (error * error);
  }
  return sum;
}

double weighted_loss(const std::vector<float>& weights, const std::vector<float>& stored,
                     const std::vector<double>& importance) {
  return weighted_loss(weights, stored, importance, 0, weights.size());
}

std::vector<float> log_normal(std::size_t n, unsigned seed, float sigma) {
  std::vector<float> values = gaussian(n, seed);
  for (float& value : values) value = std::exp(sigma * value);
  return values;
}

std::vector<float> student_t(std::size_t n, unsigned seed, double freedom) {
  std::mt19937 generator(seed);
  std::student_t_distribution<double> distribution(freedom);
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(distribution(generator));
  return values;
}

/// A row each of what breaks fits: outliers, constants, zeros, ties, offsets that dwarf the spread, tiny,
/// huge and subnormal values.
std::vector<std::pair<std::string, std::vector<float>>> hard_weights() {
  constexpr std::size_t n = kColumns;
  const std::vector<float> normal = gaussian(n, 1);
  const auto each = [&](const auto& value) {
    std::vector<float> weights(n);
    for (std::size_t i = 0; i < n; ++i) weights[i] = static_cast<float>(value(i, normal[i]));
    return weights;
  };
  return {
      {"normal", normal},
      {"outliers", each([](std::size_t i, float w) { return i % 32 == 7 ? 40.0f * w : w; })},
      {"one outlier, high", each([](std::size_t i, float w) { return i % 32 == 3 ? 90.0f : w; })},
      {"constant", each([](std::size_t, float) { return 0.3f; })},
      {"negative constant", each([](std::size_t, float) { return -0.7f; })},
      {"zeros", each([](std::size_t, float) { return 0.0f; })},
      {"sparse", each([](std::size_t i, float w) { return i % 5 == 0 ? w : 0.0f; })},
      {"two values", each([](std::size_t i, float) { return i % 3 == 0 ? -0.1f : 0.7f; })},
      {"ties", seeded(3, n)},
      {"far from zero", each([](std::size_t, float w) { return 1000.0f + w; })},
      {"a hair from constant", each([](std::size_t, float w) { return -1000.0f + 5e-4f * w; })},
      {"positive", each([](std::size_t, float w) { return std::fabs(w); })},
      {"tiny", each([](std::size_t, float w) { return 1e-6f * w; })},
      {"subnormal", each([](std::size_t, float w) { return 1e-41f * w; })},
      {"huge for f16", each([](std::size_t, float w) { return 1e4f * w; })},
      {"huge", each([](std::size_t, float w) { return 1e37f * w; })},
  };
}

std::vector<std::pair<std::string, std::vector<float>>> hard_importance() {
  constexpr std::size_t n = kColumns;
  std::vector<float> some_zero = log_normal(n, 2, 1.0f), one_unit(n, 0.0f), extreme = log_normal(n, 3, 12.0f);
  for (std::size_t i = 0; i < n; i += 3) some_zero[i] = 0.0f;
  for (std::size_t i = 0; i < 32; ++i) one_unit[i] = 1e-30f;
  return {{"none", {}},
          {"log-normal", log_normal(n, 4, 2.0f)},
          {"some zero", some_zero},
          {"zero but for one unit of 32", one_unit},
          {"over sixty decades", extreme}};
}

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
    for (const float factor : {0x1p-5f, 2.0f, 0x1p6f}) {
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
    const std::size_t run = format.layout(kColumns).run;
    const std::vector<float> weights = student_t(16 * run, 28, 5.0), shared = log_normal(run, 29, 1.0f);
    std::vector<float> importance;
    for (std::size_t i = 0; i < weights.size(); ++i) importance.push_back(shared[i % run]);
    for (const bool weighted : {true, false}) {
      const Found found = search(format, weights, run, weighted ? importance : std::vector<float>());
      std::vector<Params> params(16);
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
