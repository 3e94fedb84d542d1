#pragma once
// One matrix rounded under the Hessian of its inputs. Every row keeps the best of several candidates, plain
// rounding among them, so that no row ever loses more than plain rounding on the calibration Hessian.
//
// Other text has other inputs. Where those seen span little (effective_tokens.h), the Hessian is shrunk
// towards its diagonal and that towards equal weights (Ledoit and Wolf 2004: the less is known, the more of
// what is safe), so that inputs that tell nothing leave rounding by weights alone; and no row is kept that
// lies much farther from the weights themselves than plain rounding.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/rounding/gptq_sweep.h"
#include "assay/rounding/hessian.h"
#include "assay/rounding/rounding_error.h"

namespace assay {

struct CalibratedRoundingOptions {
  bool feedback = true;       // GPTQ; false: scale search alone, weighted by the diagonal
  double damping = 0.01;      // in parts of the mean diagonal
  int refinements = 2;        // rounds of refitting parameters and descending along coordinates
  double distinct_share = 1;  // of the tokens' positions: what of them is no repetition (effective_tokens.h)
  ScaleSearchOptions search = {};
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
  double effective_tokens = 0;             // of n, what counts
  double shrinkage = 0;             // of the Hessian's correlations: 0 as measured, 1 none of them left
  std::uint64_t rows_guarded = 0;   // whose best candidate lay too far from the weights
  std::string without_inputs = {};  // why inputs, or error feedback, were left out; empty: they were not

  void add(const CalibratedRoundingReport& panel);  // sums and counts
  /// Of another matrix of the same stack: sums, the largest damping and shrinkage, the mean gain, the fewest
  /// tokens, the first reason.
  void add_matrix(const CalibratedRoundingReport& matrix);
  OrderedJson to_json() const;  // all but `weights`
  static CalibratedRoundingReport from_json(const Json& json, const std::string& origin);
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
/// What a report says of inputs that weigh nothing.
inline constexpr const char* kZeroInputs = "its inputs are all zero";
/// Why a matrix that saw so many tokens is rounded by its weights alone; empty: it is not.
std::string why_without_inputs(std::uint64_t tokens, std::size_t columns, bool expert);

/// A row may lie so much farther from its weights than plain rounding puts it, in squares. Measured on sound
/// text (8,192 tokens, the bundled model, 2 to 4 bits): 1.0 for most rows, 1.7 for one in a hundred, 2.1 for
/// the farthest of 30,720. Formats with one scale a row need more on made-up inputs of very unlike channels.
/// So the guard is idle there; a text of one word asks for far more.
inline constexpr double kFarthest = 10;

/// The scales that lose least of the weights themselves; the format's own rule where scales cannot be chosen.
/// Nothing is known of the inputs: large weights may sit on large ones, so from 4 bits on no scale may clip
/// them by more than a fifth.
void search_by_weights(const Format& format, std::span<const float> weights, std::span<Params> params,
                       std::span<Code> codes);
RoundedMatrix round_by_weights(const Format& format, std::span<const float> weights, std::size_t rows,
                               std::size_t columns);

/// Rounds weights[rows, columns] to the format. The same bits for any number of threads. Inputs that are all
/// zero leave rounding by weights, a Hessian that cannot be factored the scale search; the report says so.
/// Throws Error: weights that the format cannot hold.
RoundedMatrix round_calibrated(const Format& format, std::span<const float> weights, std::size_t rows,
                               const Hessian& hessian, const CalibratedRoundingOptions& options,
                               CalibratedRoundingReport& report);

/// By the weights alone, told in the report: what `why_without_inputs` says is done with a matrix.
RoundedMatrix round_without_inputs(const Format& format, std::span<const float> weights, std::size_t rows,
                                   std::size_t columns, std::uint64_t tokens, std::string why,
                                   CalibratedRoundingReport& report);

}  // namespace assay
