#pragma once
// One matrix rounded under the Hessian of its inputs. Every row keeps the best of several candidates, plain
// rounding among them, so that no row ever loses more than plain rounding on the calibration Hessian.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/quantize/gptq_sweep.h"
#include "assay/quantize/hessian.h"
#include "assay/quantize/rounding_error.h"

namespace assay {

struct CalibratedRoundingOptions {
  bool feedback = true;   // GPTQ; false: scale search alone, weighted by the diagonal
  double damping = 0.01;  // in parts of the mean diagonal
  int refinements = 2;    // rounds of refitting parameters and descending along coordinates
  ScaleSearchOptions search;
};

/// Losses are sums over rows of e H e^T on the undamped Hessian: the layer's mean squared output error.
struct CalibratedRoundingReport {
  double plain_loss = 0;  // of the format's own rule
  double loss = 0;        // of what is stored
  std::uint64_t rows = 0;
  std::uint64_t rows_plain = 0;  // rows with a loss above zero where no candidate beat the format's own rule
  double damping = 0;            // as used
  double predicted_gain = 0;     // sum D / tr H
  double tokens_per_column = 0;  // n / d: below 16 the fit is to the calibration text as much as to the model
  std::uint64_t tokens = 0;      // n, that the matrix saw
  std::uint64_t clipped = 0, weights = 0;  // weights beyond the range of their parameters

  void add(const CalibratedRoundingReport& panel);  // sums and counts
  /// Of another matrix of the same stack: sums, the largest damping, the mean gain, the fewest tokens.
  void add_matrix(const CalibratedRoundingReport& matrix);
  OrderedJson to_json() const;
};

/// The order of columns in error feedback: by groups where parameters are fitted on the way, which takes a
/// unit that lies within a row, holds several of its columns but not all, and may be moved; else by
/// activation.
ColumnOrder feedback_order(const Format& format, std::size_t columns);

/// What is stored of a matrix, in the order of Format::pack.
struct RoundedMatrix {
  std::vector<Params> params;
  std::vector<Code> codes;
};

/// Rounds weights[rows, columns] by the format's own rule. Throws Error: weights that it cannot hold.
RoundedMatrix round_plainly(const Format& format, std::span<const float> weights, std::size_t rows,
                            std::size_t columns);

/// Of an expert that saw fewer tokens than this share of its columns little is known: its inputs are left
/// out.
inline constexpr double kFewestTokensPerColumn = 0.25;

/// The scales that lose least of the weights themselves; the format's own rule where scales cannot be chosen.
/// Nothing is known of the inputs: large weights may sit on large ones, so from 4 bits on no scale may clip
/// them by more than a fifth.
void search_by_weights(const Format& format, std::span<const float> weights, std::span<Params> params,
                       std::span<Code> codes);
RoundedMatrix round_by_weights(const Format& format, std::span<const float> weights, std::size_t rows,
                               std::size_t columns);

/// Rounds weights[rows, columns] to the format. The same bits for any number of threads. Throws Error:
/// weights that the format cannot hold, a Hessian that cannot be factored.
RoundedMatrix round_calibrated(const Format& format, std::span<const float> weights, std::size_t rows,
                               const Hessian& hessian, const CalibratedRoundingOptions& options,
                               CalibratedRoundingReport& report);

}  // namespace assay
