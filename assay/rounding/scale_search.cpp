#include "assay/rounding/scale_search.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>
#include <vector>

#include "assay/base/error.h"
#include "assay/formats/multiversion.h"

namespace assay {
namespace {

// Candidates of one unit are scored side by side, one a lane: no sum then crosses lanes, and a unit of any
// length fills the vectors.
constexpr std::size_t kLanes = 8;
using Lanes = std::array<double, kLanes>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Candidates {
  Lanes scale, bias;
};

/// Real elements of one unit and the codes on offer, in double: decode(u) = u * scale + bias.
struct Unit {
  const double* weights;
  const double* importance;
  std::size_t size;
  double total_importance, mean;  // of the weights, by importance
  double low, high;               // smallest and largest weight
  double first, last;             // u of the first and of the last code
  bool free_bias;
  double bias_per_scale;
};

struct Scores {
  Lanes loss;          // with the nearest codes
  Candidates refined;  // what fits these codes best: weighted least squares
  Lanes refined_loss;  // with these codes
};

inline double clamp(double x, double low, double high) {
  const double raised = x > low ? x : low;  // NaN (a scale of 0) becomes low
  return raised < high ? raised : high;
}

// Adding and subtracting 1.5 * 2^52 leaves no bits for a fraction. Ties may go another way than in the
// format, at the same distance: the codes that are stored come from the format.
inline double nearest_integer(double x) {
  constexpr double kNoFraction = 6755399441055744.0;
  return (x + kNoFraction) - kNoFraction;
}

// Least squares is solved for the change of scale and bias that removes the error, around a code near the
// mean one: sums of q * q and q * w about zero would cancel.
ASSAY_LOOP void score_loop(const Unit& unit, const Candidates& candidates, Scores& scores) {
  Candidates at = candidates;  // locals, so that they stay in registers
  Lanes inverse, centre, loss{}, error{}, square{}, offset{}, cross{};
  for (std::size_t k = 0; k < kLanes; ++k) {
    inverse[k] = 1.0 / at.scale[k];
    centre[k] = unit.free_bias ? clamp((unit.mean - at.bias[k]) * inverse[k], unit.first, unit.last)
                               : -unit.bias_per_scale;
  }
  const double* weights = unit.weights;
  const double* importance = unit.importance;
  const double first = unit.first, last = unit.last;
  for (std::size_t i = 0; i < unit.size; ++i)
    for (std::size_t k = 0; k < kLanes; ++k) {
      const double u = nearest_integer(clamp((weights[i] - at.bias[k]) * inverse[k], first, last));
      const double e = weights[i] - (u * at.scale[k] + at.bias[k]);
      const double v = u - centre[k];
      const double he = importance[i] * e, hv = importance[i] * v;
      loss[k] += he * e;
      error[k] += he;
      offset[k] += hv;
      cross[k] += he * v;
      square[k] += hv * v;
    }
  scores.loss = loss;
  if (unit.free_bias) {
    const double total = unit.total_importance;
    for (std::size_t k = 0; k < kLanes; ++k) {
      const double determinant = total * square[k] - offset[k] * offset[k];
      // All codes equal: the scale stays and the bias takes the error.
      const double slope = determinant > 0.0 ? (total * cross[k] - offset[k] * error[k]) / determinant : 0.0;
      const double level = (error[k] - slope * offset[k]) / total;
      scores.refined.scale[k] = at.scale[k] + slope;
      scores.refined.bias[k] = at.bias[k] + level - slope * centre[k];
      scores.refined_loss[k] = loss[k] - (slope * cross[k] + level * error[k]);
    }
  } else {
    for (std::size_t k = 0; k < kLanes; ++k) {
      const double slope = square[k] > 0.0 ? cross[k] / square[k] : 0.0;
      scores.refined.scale[k] = at.scale[k] + slope;
      scores.refined.bias[k] = unit.bias_per_scale * scores.refined.scale[k];
      scores.refined_loss[k] = loss[k] - slope * cross[k];
    }
  }
}
constexpr Multiversion<score_loop> score;

// Sums depend on the order of the weights in their last bits. A tie must not: the earlier candidate stays.
inline bool improves(double loss, double best) {
  return loss < best * (1.0 - 1e-12);
}

/// Searches unit after unit with the same working memory.
class Search {
 public:
  Search(const Format& format, const AffineView& view, std::size_t run, const ScaleSearchOptions& options)
      : format_(format),
        options_(options),
        weights_(run),
        importance_(run),
        padded_(run),
        decoded_(run),
        spread_(run),
        codes_(run) {
    unit_.weights = weights_.data();
    unit_.importance = importance_.data();
    unit_.first = view.first_code - view.zero;
    unit_.last = unit_.first + (view.codes - 1);
    unit_.free_bias = view.free_bias;
    unit_.bias_per_scale = static_cast<double>(view.bias_per_scale);
  }

  /// For the units that follow: one value a weight, or none for 1.
  void set_importance(std::span<const float> importance);
  /// From the reference's parameters and codes to better ones, if there are any.
  void improve(std::span<const float> weights, Params& params, std::span<Code> codes, SearchReport& report);

 private:
  void load(std::span<const float> weights);
  double stored_loss(const Params& params, std::span<const Code> codes);
  Candidates best_starts(double anchor, double sign, const Params& reference) const;
  Candidates starts_from_moments(const Params& reference) const;
  void refine(const Params& unit, Candidates candidates);

  // Steps from zero to the ends, where the bias is not free.
  double steps_up() const { return unit_.last + unit_.bias_per_scale; }
  double steps_down() const { return -(unit_.first + unit_.bias_per_scale); }
  /// The smallest step of this sign that clips no weight.
  double plain_step(double sign) const;

  const Format& format_;
  const ScaleSearchOptions& options_;
  Unit unit_{};
  bool importance_is_zero_ = false;
  double largest_importance_ = 1.0;  // what importance_ was divided by
  double best_loss_ = kInfinity;
  Params best_;
  std::vector<double> weights_, importance_;
  std::vector<float> padded_, decoded_;
  std::vector<Params> spread_;
  std::vector<Code> codes_;
};

void Search::set_importance(std::span<const float> importance) {
  const float largest = importance.empty() ? 1.0f : *std::max_element(importance.begin(), importance.end());
  importance_is_zero_ = largest == 0.0f;
  largest_importance_ = 1.0;
  if (importance.empty() || importance_is_zero_) {
    std::fill(importance_.begin(), importance_.end(), 1.0);
    return;
  }
  // In units of the largest, so that a constant is the same as none, bit for bit.
  largest_importance_ = static_cast<double>(largest);
  double sum = 0.0;
  bool some_zero = false;
  for (std::size_t i = 0; i < importance.size(); ++i) {
    importance_[i] = static_cast<double>(importance[i]) / largest_importance_;
    sum += importance_[i];
    some_zero |= importance[i] == 0.0f;
  }
  if (!some_zero) return;
  const double floor = options_.importance_floor * sum / static_cast<double>(importance.size());
  for (std::size_t i = 0; i < importance.size(); ++i) importance_[i] += floor;
}

void Search::load(std::span<const float> weights) {
  std::fill(std::copy(weights.begin(), weights.end(), padded_.begin()), padded_.end(), 0.0f);
  std::copy(weights.begin(), weights.end(), weights_.begin());
  unit_.size = weights.size();
  const auto [low, high] = std::minmax_element(weights.begin(), weights.end());
  unit_.low = static_cast<double>(*low);
  unit_.high = static_cast<double>(*high);
  unit_.total_importance = 0.0;
  double sum = 0.0;
  for (std::size_t i = 0; i < unit_.size; ++i) {
    unit_.total_importance += importance_[i];
    sum += importance_[i] * weights_[i];
  }
  unit_.mean = sum / unit_.total_importance;
}

/// J of what would be stored.
double Search::stored_loss(const Params& params, std::span<const Code> codes) {
  const std::span<float> decoded(decoded_.data(), unit_.size);
  format_.decode({&params, 1}, codes, decoded);
  double loss = 0.0;
  for (std::size_t i = 0; i < unit_.size; ++i) {
    const double error = weights_[i] - static_cast<double>(decoded[i]);
    loss += importance_[i] * (error * error);
  }
  return loss;
}

double Search::plain_step(double sign) const {
  if (unit_.free_bias) return (unit_.high - unit_.low) / (unit_.last - unit_.first);
  const double up = sign > 0 ? unit_.high : -unit_.low, down = sign > 0 ? -unit_.low : unit_.high;
  return sign * std::max(up / steps_up(), down / steps_down());
}

/// The grid of steps, cut into one stretch a lane: the best of each stretch. (Neighbours lead to the same
/// place, so the best of all would mostly be copies of one.) A free bias makes the point at `anchor` of the
/// weights' range (0 = smallest, 1 = largest) the point there of the codes' range.
Candidates Search::best_starts(double anchor, double sign, const Params& reference) const {
  const int steps = (options_.points + static_cast<int>(kLanes) - 1) / static_cast<int>(kLanes);
  const double plain = plain_step(sign);
  const double fixed = unit_.low + anchor * (unit_.high - unit_.low);
  const double fixed_code = unit_.first + anchor * (unit_.last - unit_.first);
  const double spacing = (options_.largest - options_.smallest) / (static_cast<double>(kLanes) * steps - 1.0);
  Candidates best, candidates;
  best.scale.fill(static_cast<double>(reference.scale));
  best.bias.fill(static_cast<double>(reference.bias));
  Lanes best_loss;
  best_loss.fill(kInfinity);
  Scores scores;
  for (int step = 0; step < steps; ++step) {
    for (std::size_t k = 0; k < kLanes; ++k) {
      const double point = static_cast<double>(k) * steps + step;
      const double scale = plain * (options_.smallest + spacing * point);
      candidates.scale[k] = scale;
      candidates.bias[k] = unit_.free_bias ? fixed - fixed_code * scale : unit_.bias_per_scale * scale;
    }
    score(unit_, candidates, scores);
    for (std::size_t k = 0; k < kLanes; ++k)
      if (improves(scores.refined_loss[k], best_loss[k])) {
        best_loss[k] = scores.refined_loss[k];
        best.scale[k] = scores.refined.scale[k];
        best.bias[k] = scores.refined.bias[k];
      }
  }
  return best;
}

/// The published fit, and starts by the spread of the weights as importance sees it: where few weights carry
/// all of it, the extremes say little.
Candidates Search::starts_from_moments(const Params& reference) const {
  const double middle = unit_.free_bias ? unit_.mean : 0.0;
  double squares = 0.0;
  for (std::size_t i = 0; i < unit_.size; ++i)
    squares += importance_[i] * ((weights_[i] - middle) * (weights_[i] - middle));
  const double spread = std::sqrt(squares / unit_.total_importance);
  const double middle_code = 0.5 * (unit_.first + unit_.last);
  Candidates starts;
  for (std::size_t k = 0; k < kLanes; ++k) {
    const double reach = (0.4 + 0.35 * static_cast<double>(k)) * spread;  // the last one nearly 3 deviations
    const double scale =
        reach / (unit_.free_bias ? unit_.last - middle_code : std::max(steps_up(), steps_down()));
    starts.scale[k] = scale;
    starts.bias[k] = unit_.free_bias ? middle - middle_code * scale : unit_.bias_per_scale * scale;
  }
  starts.scale[0] = static_cast<double>(reference.scale);
  starts.bias[0] = static_cast<double>(reference.bias);
  return starts;
}

/// Every candidate is rounded to storage, in the place of `unit`, before it is scored. The rounded rounds are
/// not monotone.
void Search::refine(const Params& unit, Candidates candidates) {
  std::array<Params, kLanes> stored;
  std::array<bool, kLanes> legal;
  Scores scores;
  for (int round = 0; round < options_.refinements; ++round) {
    for (std::size_t k = 0; k < kLanes; ++k) {
      const auto params = format_.store_beside(unit, static_cast<float>(candidates.scale[k]),
                                               static_cast<float>(candidates.bias[k]));
      legal[k] = params.has_value();
      if (!legal[k]) continue;
      stored[k] = *params;
      candidates.scale[k] = static_cast<double>(params->scale);
      candidates.bias[k] = static_cast<double>(params->bias);
    }
    score(unit_, candidates, scores);
    for (std::size_t k = 0; k < kLanes; ++k)
      if (legal[k] && improves(scores.loss[k], best_loss_)) {
        best_loss_ = scores.loss[k];
        best_ = stored[k];
      }
    candidates = scores.refined;
  }
}

/// The same decoded values with the codes counted from the other end, hence another bias to round.
Candidates mirrored(const Unit& unit, const Candidates& candidates) {
  Candidates other;
  for (std::size_t k = 0; k < kLanes; ++k) {
    other.scale[k] = -candidates.scale[k];
    other.bias[k] = candidates.bias[k] + (unit.first + unit.last) * candidates.scale[k];
  }
  return other;
}

void Search::improve(std::span<const float> weights, Params& params, std::span<Code> codes,
                     SearchReport& report) {
  load(weights);
  const double reference_loss = stored_loss(params, codes);
  report.without_importance += importance_is_zero_ ? 1 : 0;
  report.reference_loss += reference_loss * largest_importance_;
  report.loss += reference_loss * largest_importance_;
  if (reference_loss == 0.0) return;

  best_ = params;
  best_loss_ = kInfinity;
  const bool negative_scales = format_.store_beside(params, -1.0f, 0.0f).has_value();
  if (unit_.free_bias) {
    for (const double anchor : {0.0, 0.5, 1.0}) {
      const Candidates starts = best_starts(anchor, 1.0, params);
      refine(params, starts);
      if (negative_scales) refine(params, mirrored(unit_, starts));
    }
  } else {
    refine(params, best_starts(0.0, 1.0, params));
    if (negative_scales) refine(params, best_starts(0.0, -1.0, params));
  }
  refine(params, starts_from_moments(params));

  // What counts is what would be stored: codes and decoded values are the format's. The slots after a short
  // unit get the code of 0.0.
  std::fill(spread_.begin(), spread_.end(), best_);
  format_.round(spread_, padded_, codes_, decoded_);
  const double loss = stored_loss(best_, codes_);
  if (!improves(loss, reference_loss)) return;
  params = best_;
  std::copy(codes_.begin(), codes_.end(), codes.begin());
  report.loss += (loss - reference_loss) * largest_importance_;
  ++report.improved;
}

void demand_importance(std::span<const float> importance) {
  for (std::size_t i = 0; i < importance.size(); ++i)
    if (!std::isfinite(importance[i]) || importance[i] < 0.0f)
      fail("importance of element {}: found {}, expected a finite number >= 0", i, importance[i]);
}

/// The nearest codes under the parameters as they stand.
void code_under(const Format& format, std::span<const float> weights, std::span<const Params> params,
                std::span<Code> codes) {
  const std::size_t run = weights.size() / params.size();
  std::vector<Params> spread(weights.size());
  std::vector<float> decoded(weights.size());
  for (std::size_t i = 0; i < spread.size(); ++i) spread[i] = params[i / run];
  format.round(spread, weights, codes, decoded);
}

bool searchable(const std::optional<AffineView>& view) {
  return view.has_value() && view->searchable;
}

}  // namespace

void SearchReport::add(const SearchReport& other) {
  units += other.units;
  improved += other.improved;
  without_importance += other.without_importance;
  reference_loss += other.reference_loss;
  loss += other.loss;
}

void search_units(const Format& format, std::span<const float> weights, std::span<const float> importance,
                  std::span<Params> params, std::span<Code> codes, const ScaleSearchOptions& options,
                  SearchReport* report) {
  assert(importance.empty() || importance.size() == weights.size());
  demand_importance(importance);
  format.reference(weights, params, codes);
  SearchReport found;
  found.units = params.size();
  const auto view = format.affine();
  if (searchable(view) && !weights.empty()) {
    const std::size_t run = codes.size() / params.size();
    Search search(format, *view, run, options);
    for (std::size_t unit = 0; unit < params.size(); ++unit) {
      const std::size_t first = unit * run, size = std::min(run, weights.size() - first);
      search.set_importance(importance.empty() ? importance : importance.subspan(first, size));
      search.improve(weights.subspan(first, size), params[unit], codes.subspan(first, run), found);
    }
  }
  if (report != nullptr) report->add(found);
}

void search_params(const Format& format, std::span<const float> weights, std::span<const float> importance,
                   std::span<Params> params, const ScaleSearchOptions& options, SearchReport* report) {
  if (params.empty()) return;
  const std::size_t run = weights.size() / params.size();
  assert(weights.size() == params.size() * run && (importance.empty() || importance.size() == run));
  demand_importance(importance);
  std::vector<Code> codes(weights.size());
  if (format.layout(run).units_per_record == 1)
    format.reference(weights, params, codes);
  else
    code_under(format, weights, params, codes);
  SearchReport found;
  found.units = params.size();
  const auto view = format.affine();
  if (searchable(view)) {
    Search search(format, *view, run, options);
    search.set_importance(importance);
    for (std::size_t unit = 0; unit < params.size(); ++unit)
      search.improve(weights.subspan(unit * run, run), params[unit],
                     std::span(codes).subspan(unit * run, run), found);
  }
  if (report != nullptr) report->add(found);
}

}  // namespace assay
