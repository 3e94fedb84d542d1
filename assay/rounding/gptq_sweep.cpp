#include "assay/rounding/gptq_sweep.h"

#include <cblas.h>

#include <algorithm>
#include <cassert>

namespace assay {
namespace {

constexpr std::size_t kSweepBlock =
    128;  // columns whose feedback is applied at once; a multiple of every group

/// One sweep over one panel. Matrices are held transposed, [columns, rows] in processing order: a column is
/// rounded in one call, and feedback is a multiple of it.
class Sweep {
 public:
  Sweep(const Panel& panel, const GptqFactor& factor, const ScaleSearchOptions& search)
      : panel_(panel),
        factor_(factor),
        search_(search),
        rows_(panel.rows),
        columns_(panel.columns),
        original_(rows_ * columns_),
        error_(rows_ * columns_),
        values_(rows_),
        rounded_(rows_),
        codes_(rows_),
        params_(panel.params.empty() ? 0 : rows_) {
    for (std::size_t p = 0; p < columns_; ++p)
      for (std::size_t r = 0; r < rows_; ++r)
        original_[p * rows_ + r] = static_cast<double>(panel.weights[r * columns_ + factor.order[p]]);
    work_ = original_;
  }

  void run(GroupFit fit, std::span<double> loss) {
    const std::size_t group = panel_.layout.run;
    for (std::size_t begin = 0; begin < columns_; begin += kSweepBlock) {
      const std::size_t end = std::min(begin + kSweepBlock, columns_);
      for (std::size_t p = begin; p < end; ++p) {
        if (fit == GroupFit::on_start && p % group == 0) fit_group(p, group);
        round_column(p, loss);
        for (std::size_t k = p + 1; k < end; ++k) take_up(p, k);
      }
      if (end == columns_) break;
      const auto n = static_cast<int>(rows_), stride = static_cast<int>(columns_);
      cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<int>(columns_ - end), n,
                  static_cast<int>(end - begin), 1.0, factor_.v.data() + begin * columns_ + end, stride,
                  error_.data() + begin * rows_, n, 1.0, work_.data() + end * rows_, n);
    }
  }

 private:
  void take_up(std::size_t from, std::size_t to) {
    const double share = factor_.v[from * columns_ + to];
    const double* error = error_.data() + from * rows_;
    double* work = work_.data() + to * rows_;
    for (std::size_t r = 0; r < rows_; ++r) work[r] += error[r] * share;
  }

  void round_column(std::size_t p, std::span<double> loss) {
    const std::size_t column = factor_.order[p];
    for (std::size_t r = 0; r < rows_; ++r) {
      values_[r] = static_cast<float>(work_[p * rows_ + r]);
      if (!params_.empty()) params_[r] = panel_.params[(r * columns_ + column) / panel_.layout.run];
    }
    panel_.format.round(params_, values_, codes_, rounded_);
    for (std::size_t r = 0; r < rows_; ++r) {
      const auto stored = static_cast<double>(rounded_[r]);
      const double miss = work_[p * rows_ + r] - stored;
      loss[r] += factor_.d[p] * miss * miss;
      error_[p * rows_ + r] = original_[p * rows_ + r] - stored;
      panel_.codes[r * columns_ + column] = codes_[r];
    }
  }

  /// Fits the group that starts at position p to its weights at the minimum of the quadratic that is left
  /// once the columns before it are fixed: x_k = work_k + sum over the group's earlier i of (w_i - x_i) V_ik.
  void fit_group(std::size_t p, std::size_t group) {
    const std::size_t first_column =
        *std::min_element(factor_.order.begin() + static_cast<std::ptrdiff_t>(p),
                          factor_.order.begin() + static_cast<std::ptrdiff_t>(p + group));
    assert(first_column % group == 0);
    relaxed_.assign(work_.begin() + static_cast<std::ptrdiff_t>(p * rows_),
                    work_.begin() + static_cast<std::ptrdiff_t>((p + group) * rows_));
    for (std::size_t i = 0; i < group; ++i)
      for (std::size_t k = i + 1; k < group; ++k) {
        const double share = factor_.v[(p + i) * columns_ + p + k];
        for (std::size_t r = 0; r < rows_; ++r)
          relaxed_[k * rows_ + r] += (original_[(p + i) * rows_ + r] - relaxed_[i * rows_ + r]) * share;
      }
    weights_.resize(rows_ * group);
    importance_.resize(group);
    for (std::size_t i = 0; i < group; ++i) {
      const std::size_t at = factor_.order[p + i] - first_column;
      importance_[at] = static_cast<float>(factor_.d[p + i]);
      for (std::size_t r = 0; r < rows_; ++r)
        weights_[r * group + at] = static_cast<float>(relaxed_[i * rows_ + r]);
    }
    group_params_.resize(rows_);
    for (std::size_t r = 0; r < rows_; ++r)
      group_params_[r] = panel_.params[(r * columns_ + first_column) / panel_.layout.run];
    search_params(panel_.format, weights_, importance_, group_params_, search_);
    for (std::size_t r = 0; r < rows_; ++r)
      panel_.params[(r * columns_ + first_column) / panel_.layout.run] = group_params_[r];
  }

  const Panel& panel_;
  const GptqFactor& factor_;
  const ScaleSearchOptions& search_;
  std::size_t rows_, columns_;
  std::vector<double> original_, error_, work_;  // [columns, rows]
  std::vector<float> values_, rounded_;          // of one column
  std::vector<Code> codes_;
  std::vector<Params> params_;
  std::vector<double> relaxed_;  // [group, rows]
  std::vector<float> weights_, importance_;
  std::vector<Params> group_params_;
};

}  // namespace

void code_padding(const Panel& panel) {
  const std::size_t real = panel.rows * panel.columns;
  if (real == panel.codes.size()) return;
  const std::size_t count = panel.codes.size() - real;
  const std::vector<Params> params(panel.params.empty() ? 0 : count,
                                   panel.params.empty() ? Params{} : panel.params.back());
  const std::vector<float> zeros(count);
  std::vector<float> rounded(count);
  panel.format.round(params, zeros, panel.codes.subspan(real), rounded);
}

void gptq_sweep(const Panel& panel, const GptqFactor& factor, GroupFit fit, const ScaleSearchOptions& search,
                std::span<double> loss) {
  assert(panel.weights.size() == panel.rows * panel.columns && loss.size() == panel.rows);
  Sweep(panel, factor, search).run(fit, loss);
  code_padding(panel);
}

}  // namespace assay
