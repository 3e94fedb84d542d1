#pragma once
// GPTQ's sweep (arXiv 2210.17323): columns are rounded one after the other, and what rounding lost is taken
// up by the columns still to come. Rows are independent, so a panel of rows is swept by one thread.
#include <cstddef>
#include <span>
#include <vector>

#include "assay/formats/format.h"
#include "assay/rounding/gptq_factor.h"
#include "assay/rounding/scale_search.h"

namespace assay {

/// Rows of one matrix that fill whole units of its format, with what is stored for them. Weight (r, c)
/// belongs to unit (r * columns + c) / layout.run.
struct Panel {
  const Format& format;
  Layout layout;  // of the format at this number of columns
  std::size_t rows = 0, columns = 0;
  std::span<const float> weights;  // [rows, columns]
  std::span<Params> params;        // one a unit; empty for formats without
  std::span<Code> codes;           // pad codes of a short last unit included
};

enum class GroupFit {
  kept,     // parameters as they stand in the panel
  on_start  // each group fitted to what its weights have become when its first column is reached (under what
            // units of a record share in the panel); needs groups of consecutive columns in processing order
};

/// Chooses codes (and with GroupFit::on_start parameters) of the panel. Adds to loss[r] the row's weighted
/// error under the damped Hessian.
void gptq_sweep(const Panel& panel, const GptqFactor& factor, GroupFit fit, const ScaleSearchOptions& search,
                std::span<double> loss);

/// Codes of the padding of a short last unit: those of weight 0 under the unit's parameters.
void code_padding(const Panel& panel);

}  // namespace assay
