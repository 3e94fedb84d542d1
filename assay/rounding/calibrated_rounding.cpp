#include "assay/rounding/calibrated_rounding.h"

#include <algorithm>
#include <cassert>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/parallel/threads.h"
#include "assay/rounding/effective_tokens.h"
#include "assay/rounding/refine.h"

namespace assay {
namespace {

constexpr std::size_t kPanelRows =
    64;  // a multiple of every row granule; fixed, so that threads change nothing
constexpr double kLeastSquare = 1e-20;  // mean, of an input: below it there is nothing to weigh errors by

/// Parameters and codes of a panel that a method proposes, and the loss of each row.
struct Candidate {
  std::vector<Params> params;
  std::vector<Code> codes;
  std::vector<double> loss, squared;  // under the Hessian; of the weights
};

/// The factors that sweeps need, made once for all panels.
struct Factors {
  std::optional<GptqFactor> grouped;  // for parameters fitted on the way
  std::optional<GptqFactor> free;     // any order, for parameters that stand before the sweep
};

class PanelRounding {
 public:
  PanelRounding(const Format& format, std::span<const float> weights, std::size_t rows,
                const Hessian& hessian, const Factors& factors, const CalibratedRoundingOptions& options)
      : format_(format),
        layout_(format.layout(hessian.columns)),
        weights_(weights),
        rows_(rows),
        hessian_(hessian),
        factors_(factors),
        options_(options),
        units_(unit_count(layout_, rows, hessian.columns)),
        guarded_(rows) {}

  /// Writes the best rows into params and codes.
  CalibratedRoundingReport run(std::span<Params> params, std::span<Code> codes) {
    const Candidate plain =
        propose([&](const Panel& panel) { format_.reference(panel.weights, panel.params, panel.codes); });
    best_ = plain;
    limit_ = plain.squared;
    for (double& limit : limit_) limit *= kFarthest;
    Candidate searched = propose([&](const Panel& panel) {
      std::vector<float> importance(panel.weights.size());
      for (std::size_t i = 0; i < importance.size(); ++i) {
        const std::size_t column = i % panel.columns;
        importance[i] = static_cast<float>(hessian_.at(column, column));
      }
      search_units(format_, panel.weights, importance, panel.params, panel.codes, options_.search);
    });
    keep_better_rows(searched);
    if (factors_.grouped) {
      Candidate swept = propose([&](const Panel& panel) {
        std::vector<double> damped(rows_);
        std::ranges::copy(searched.params, panel.params.begin());
        gptq_sweep(panel, *factors_.grouped, GroupFit::on_start, options_.search, damped);
      });
      keep_better_rows(swept);
    }
    if (factors_.free) {
      Candidate swept = propose([&](const Panel& panel) {
        std::vector<double> damped(rows_);
        std::ranges::copy(searched.params, panel.params.begin());
        gptq_sweep(panel, *factors_.free, GroupFit::kept, options_.search, damped);
      });
      keep_better_rows(swept);
    }
    if (options_.feedback) refine();

    CalibratedRoundingReport report;
    const std::size_t granule = format_.row_granule(hessian_.columns);
    for (std::size_t first = 0; first < rows_; first += granule)
      for (std::size_t r = first; r < std::min(rows_, first + granule); ++r) {
        report.plain_loss += plain.loss[r];
        report.loss += best_.loss[r];
        if (plain.loss[r] > 0 && !(best_.loss[r] < plain.loss[r])) ++report.rows_plain;
      }
    report.rows = rows_;
    report.rows_guarded = static_cast<std::uint64_t>(std::ranges::count(guarded_, true));
    count_clipped(report);
    std::ranges::copy(best_.params, params.begin());
    std::ranges::copy(best_.codes, codes.begin());
    return report;
  }

 private:
  Panel panel(Candidate& candidate) const {
    return {format_, layout_, rows_, hessian_.columns, weights_, candidate.params, candidate.codes};
  }

  template <class Method>
  Candidate propose(const Method& method) const {
    Candidate candidate;
    candidate.params.resize(layout_.has_params ? units_ : 0);
    candidate.codes.resize(units_ * layout_.run);
    method(panel(candidate));
    weigh(candidate);
    return candidate;
  }

  void weigh(Candidate& candidate) const {
    const PanelError error(panel(candidate), hessian_);
    candidate.loss = error.row_loss();
    candidate.squared = error.row_squares();
  }

  /// Rows that share units go together.
  void keep_better_rows(const Candidate& candidate) {
    const std::size_t granule = format_.row_granule(hessian_.columns), columns = hessian_.columns;
    for (std::size_t first = 0; first < rows_; first += granule) {
      const std::size_t last = std::min(rows_, first + granule);
      double old_loss = 0, new_loss = 0, squared = 0, limit = 0;
      for (std::size_t r = first; r < last; ++r) {
        old_loss += best_.loss[r];
        new_loss += candidate.loss[r];
        squared += candidate.squared[r];
        limit += limit_[r];
      }
      if (!(new_loss < old_loss)) continue;
      if (squared > limit) {
        std::fill(guarded_.begin() + static_cast<std::ptrdiff_t>(first),
                  guarded_.begin() + static_cast<std::ptrdiff_t>(last), true);
        continue;
      }
      const std::size_t first_unit = first * columns / layout_.run;
      const std::size_t last_unit = last == rows_ ? units_ : last * columns / layout_.run;
      const auto copy = [](const auto& from, auto& to, std::size_t begin, std::size_t end) {
        std::copy(from.begin() + static_cast<std::ptrdiff_t>(begin),
                  from.begin() + static_cast<std::ptrdiff_t>(end),
                  to.begin() + static_cast<std::ptrdiff_t>(begin));
      };
      if (layout_.has_params) copy(candidate.params, best_.params, first_unit, last_unit);
      copy(candidate.codes, best_.codes, first_unit * layout_.run, last_unit * layout_.run);
      copy(candidate.loss, best_.loss, first, last);
      copy(candidate.squared, best_.squared, first, last);
    }
  }

  void refine() {
    Candidate refined = best_;
    for (int round = 0; round < options_.refinements; ++round) {
      refit_parameters(panel(refined), hessian_);
      descend_coordinates(panel(refined), hessian_);
    }
    code_padding(panel(refined));
    weigh(refined);
    keep_better_rows(refined);
  }

  void count_clipped(CalibratedRoundingReport& report) const {
    report.weights = weights_.size();
    if (!layout_.has_params) return;
    for (std::size_t u = 0; u < units_; ++u) {
      const auto [low, high] = format_.range(best_.params[u]);
      const std::size_t end = std::min(weights_.size(), (u + 1) * layout_.run);
      for (std::size_t i = u * layout_.run; i < end; ++i)
        report.clipped += weights_[i] < low || weights_[i] > high;
    }
  }

  const Format& format_;
  Layout layout_;
  std::span<const float> weights_;
  std::size_t rows_;
  const Hessian& hessian_;
  const Factors& factors_;
  const CalibratedRoundingOptions& options_;
  std::size_t units_;
  Candidate best_;
  std::vector<double> limit_;  // of each row's squared error
  std::vector<bool> guarded_;  // rows
};

}  // namespace

ColumnOrder feedback_order(const Format& format, std::size_t columns) {
  const Layout layout = format.layout(columns);
  const auto view = format.affine();
  const bool fits_on_the_way =
      layout.has_params && view && view->searchable && layout.run < columns && columns % layout.run == 0;
  return fits_on_the_way ? ColumnOrder::groups : ColumnOrder::activation;
}

void CalibratedRoundingReport::add(const CalibratedRoundingReport& panel) {
  plain_loss += panel.plain_loss;
  loss += panel.loss;
  rows += panel.rows;
  rows_plain += panel.rows_plain;
  rows_guarded += panel.rows_guarded;
  clipped += panel.clipped;
  weights += panel.weights;
}

void CalibratedRoundingReport::add_matrix(const CalibratedRoundingReport& matrix) {
  const double here = static_cast<double>(weights), there = static_cast<double>(matrix.weights);
  predicted_gain = (predicted_gain * here + matrix.predicted_gain * there) / std::max(1.0, here + there);
  damping = std::max(damping, matrix.damping);
  tokens = weights == 0 ? matrix.tokens : std::min(tokens, matrix.tokens);
  tokens_per_column =
      weights == 0 ? matrix.tokens_per_column : std::min(tokens_per_column, matrix.tokens_per_column);
  effective_tokens =
      weights == 0 ? matrix.effective_tokens : std::min(effective_tokens, matrix.effective_tokens);
  shrinkage = std::max(shrinkage, matrix.shrinkage);
  if (without_inputs.empty()) without_inputs = matrix.without_inputs;
  add(matrix);
}

OrderedJson CalibratedRoundingReport::to_json() const {
  OrderedJson json = {{"plain_loss", plain_loss},
                      {"loss", loss},
                      {"rows", rows},
                      {"rows_plain", rows_plain},
                      {"rows_guarded", rows_guarded},
                      {"damping", damping},
                      {"predicted_gain", predicted_gain},
                      {"tokens_per_column", tokens_per_column},
                      {"tokens", tokens},
                      {"effective_tokens", effective_tokens},
                      {"shrinkage", shrinkage},
                      {"clipped", clipped}};
  if (!without_inputs.empty()) json["without_inputs"] = without_inputs;
  return json;
}

CalibratedRoundingReport CalibratedRoundingReport::from_json(const Json& json, const std::string& origin) {
  const auto number = [&](const char* key) { return json_get<double>(json, key, origin); };
  const auto count = [&](const char* key) { return json_get<std::uint64_t>(json, key, origin); };
  CalibratedRoundingReport report;
  report.plain_loss = number("plain_loss");
  report.loss = number("loss");
  report.rows = count("rows");
  report.rows_plain = count("rows_plain");
  report.rows_guarded = count("rows_guarded");
  report.damping = number("damping");
  report.predicted_gain = number("predicted_gain");
  report.tokens_per_column = number("tokens_per_column");
  report.tokens = count("tokens");
  report.effective_tokens = number("effective_tokens");
  report.shrinkage = number("shrinkage");
  report.clipped = count("clipped");
  report.without_inputs = json_get_or<std::string>(json, "without_inputs", "", origin);
  return report;
}

std::string why_without_inputs(std::uint64_t tokens, std::size_t columns, bool expert) {
  if (tokens == 0) return "no token came by";
  if (expert && static_cast<double>(tokens) < kFewestTokensPerColumn * static_cast<double>(columns))
    return "an expert that few tokens visit";
  return {};
}

RoundedMatrix round_plainly(const Format& format, std::span<const float> weights, std::size_t rows,
                            std::size_t columns) {
  const Layout layout = format.layout(columns);
  const std::size_t units = unit_count(layout, rows, columns);
  RoundedMatrix rounded{std::vector<Params>(layout.has_params ? units : 0),
                        std::vector<Code>(units * layout.run)};
  format.reference(weights, rounded.params, rounded.codes);
  return rounded;
}

void search_by_weights(const Format& format, std::span<const float> weights, std::span<Params> params,
                       std::span<Code> codes) {
  const auto view = format.affine();
  if (!view || !view->searchable) {
    format.reference(weights, params, codes);
    return;
  }
  ScaleSearchOptions options;
  if (view->codes >= 15) options.smallest = 0.8;
  search_units(format, weights, {}, params, codes, options);
}

RoundedMatrix round_by_weights(const Format& format, std::span<const float> weights, std::size_t rows,
                               std::size_t columns) {
  RoundedMatrix rounded = round_plainly(format, weights, rows, columns);
  search_by_weights(format, weights, rounded.params, rounded.codes);
  return rounded;
}

RoundedMatrix round_without_inputs(const Format& format, std::span<const float> weights, std::size_t rows,
                                   std::size_t columns, std::uint64_t tokens, std::string why,
                                   CalibratedRoundingReport& report) {
  report.rows = rows;
  report.weights = weights.size();
  report.tokens = tokens;
  report.tokens_per_column = static_cast<double>(tokens) / static_cast<double>(columns);
  report.shrinkage = 1;
  report.without_inputs = std::move(why);
  return round_by_weights(format, weights, rows, columns);
}

RoundedMatrix round_calibrated(const Format& format, std::span<const float> weights, std::size_t rows,
                               const Hessian& measured, const CalibratedRoundingOptions& options,
                               CalibratedRoundingReport& report) {
  const std::size_t columns = measured.columns;
  assert(weights.size() == rows * columns);
  if (!(measured.trace() > kLeastSquare * static_cast<double>(columns)))
    return round_without_inputs(format, weights, rows, columns, measured.tokens, kZeroInputs, report);
  report.effective_tokens = effective_tokens(measured, options.distinct_share);
  const Shrinkage shrinkage = shrinkage_for(report.effective_tokens, columns);
  report.shrinkage = shrinkage.correlations;
  const bool whole = shrinkage.correlations == 0 && shrinkage.diagonal == 0;
  const Hessian shrunk = whole ? Hessian{} : shrink(measured, shrinkage);
  const Hessian& hessian = whole ? measured : shrunk;

  const Layout layout = format.layout(columns);
  CalibratedRoundingOptions used = options;
  Factors factors;
  if (options.feedback) try {
      if (feedback_order(format, columns) == ColumnOrder::groups)
        factors.grouped = factor_hessian(hessian, ColumnOrder::groups, layout.run, options.damping);
      else
        factors.free = factor_hessian(hessian, ColumnOrder::activation, 1, options.damping);
      const GptqFactor& factor = factors.grouped ? *factors.grouped : *factors.free;
      report.damping = factor.damping;
      report.predicted_gain = factor.predicted_gain;
    } catch (const Error& problem) {
      used.feedback = false;
      report.without_inputs = fmt::format("no error feedback: {}", problem.what());
    }
  report.tokens = hessian.tokens;
  report.tokens_per_column = static_cast<double>(hessian.tokens) / static_cast<double>(columns);

  RoundedMatrix rounded;
  const std::size_t units = unit_count(layout, rows, columns);
  rounded.params.resize(layout.has_params ? units : 0);
  rounded.codes.resize(units * layout.run);
  std::vector<CalibratedRoundingReport> reports(ceil_divide(rows, kPanelRows));
  parallel_for(reports.size(), [&](std::size_t p) {
    const std::size_t first = p * kPanelRows, count = std::min(kPanelRows, rows - first);
    const std::size_t first_unit = first * columns / layout.run,
                      panel_units = unit_count(layout, count, columns);
    PanelRounding panel(format, weights.subspan(first * columns, count * columns), count, hessian, factors,
                        used);
    reports[p] =
        panel.run(std::span(rounded.params)
                      .subspan(layout.has_params ? first_unit : 0, layout.has_params ? panel_units : 0),
                  std::span(rounded.codes).subspan(first_unit * layout.run, panel_units * layout.run));
  });
  for (const CalibratedRoundingReport& panel : reports) report.add(panel);
  return rounded;
}

}  // namespace assay
