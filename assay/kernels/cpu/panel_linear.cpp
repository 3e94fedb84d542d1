#include "assay/kernels/cpu/panel_linear.h"

#include <cblas.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "assay/base/checked.h"
#include "assay/formats/multiversion.h"
#include "assay/kernels/cpu/panel_matrix.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/tasks.h"

namespace assay::cpu {
namespace {

// Bytes of panels that a thread claims at once: a few microseconds, so that a thread that is interrupted
// keeps others waiting for no more.
constexpr std::size_t kClaimedBytes = std::size_t{1} << 16;
// Unpacked at once for many tokens: 256 rows.
constexpr std::size_t kUnpackedPanels = 16;
// Half a block: no group is smaller.
constexpr std::size_t kSummedColumns = kBlockColumns / 2;

/// What activations are in the end, where codes or halves are held as `code`.
Activations resolved(Activations asked, PanelCode code) {
  if (asked == Activations::f32 || code >= PanelCode::f16) return Activations::f32;
  if (asked == Activations::int8 && takes_bytes(code)) return Activations::int8;
  if (asked == Activations::automatic && code <= PanelCode::bits4) return Activations::int8;
  return Activations::int16;
}

std::string summary_of(const Format& format, Activations asked, Isa isa) {
  const Activations activations = resolved(asked, PanelMatrix::code_of(format));
  return fmt::format("packed, 16 rows interleaved, {} activations ({})",
                     activations == Activations::int8    ? "8-bit"
                     : activations == Activations::int16 ? "16-bit"
                                                         : "f32",
                     isa == Isa::neon ? "NEON" : "AVX2");
}

class PanelLinear final : public Linear {
 public:
  PanelLinear(PackedMatrix source, Activations activations, const PanelKernels& kernels, Isa isa)
      : panels_(source),
        source_(std::move(source)),
        kernels_(kernels),
        isa_(isa),
        activations_(resolved(activations, panels_.code())) {}

  std::uint64_t rows() const override { return panels_.rows(); }
  std::uint64_t columns() const override { return panels_.columns(); }
  std::string kernel() const override { return summary_of(*source_.format(), activations_, isa_); }
  void row(std::uint64_t index, const Rows& out) const override {
    source_.decode(index, 1, host_values<float>(out));
  }
  void forward(const Rows& x, const Rows& y) const override {
    const Linear* self = this;
    multiply_panels({&self, 1}, x, {&y, 1});
  }

  const PanelMatrix& panels() const { return panels_; }
  const PanelKernels& kernels() const { return kernels_; }
  const PanelKernel& kernel_of_code() const {
    const auto code = static_cast<std::size_t>(panels_.code());
    return panels_.has_superblocks() ? kernels_.of_subscaled[code] : kernels_.of_code[code];
  }
  Activations activations() const { return activations_; }
  std::size_t panels_per_task(bool few) const {
    return few ? std::max<std::size_t>(1, kClaimedBytes / panels_.panel_bytes()) : kUnpackedPanels;
  }
  std::size_t tasks(bool few) const { return ceil_divide(panels_.panels(), panels_per_task(few)); }

 private:
  PanelMatrix panels_;
  PackedMatrix source_;  // for single rows
  const PanelKernels& kernels_;
  Isa isa_;  // of them
  Activations activations_;
};

ASSAY_LOOP void scale_activations_loop(const float* x, const float* factors, std::size_t blocks, float* out) {
  for (std::size_t block = 0; block < blocks; ++block)
    for (std::size_t i = 0; i < kBlockColumns; ++i)
      out[block * kBlockColumns + i] = x[block * kBlockColumns + i] * factors[i];
}
constexpr Multiversion<scale_activations_loop> scale_activations;

ASSAY_LOOP float sum_of_loop(const float* x, std::size_t count) {
  float lanes[kSummedColumns] = {};
  for (std::size_t i = 0; i < count; i += kSummedColumns)
    for (std::size_t j = 0; j < kSummedColumns; ++j) lanes[j] += x[i + j];
  for (std::size_t half = kSummedColumns / 2; half > 0; half /= 2)
    for (std::size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  return lanes[0];
}
constexpr Multiversion<sum_of_loop> sum_of;

/// A block as steps of its largest magnitude / largest_step; the sums of its halves, times the size of a
/// step.
ASSAY_LOOP void round_to_steps_loop(const float* x, float largest_step, std::int16_t* steps, float* size,
                                    float* sums) {
  float largest = 0;
  for (std::size_t i = 0; i < kBlockColumns; ++i) largest = std::max(largest, std::fabs(x[i]));
  *size = largest / largest_step;
  const float reciprocal = largest > 0 ? largest_step / largest : 0.0f;
  for (std::size_t part = 0; part < kBlockColumns; part += kSummedColumns) {
    std::int32_t sum = 0;
    for (std::size_t i = part; i < part + kSummedColumns; ++i) {
      const auto step = static_cast<std::int32_t>(std::nearbyint(x[i] * reciprocal));
      steps[i] = static_cast<std::int16_t>(step);
      sum += step;
    }
    *sums++ = *size * static_cast<float>(sum);
  }
}
constexpr Multiversion<round_to_steps_loop> round_to_steps;

/// Steps that fit them as bytes, a quad's columns in the order of a word's bytes.
void narrow(const std::int16_t* steps, std::int8_t* bytes) {
  for (std::size_t quad = 0; quad < kBlockColumns; quad += 4)
    for (std::size_t i = 0; i < 4; ++i)
      bytes[quad + static_cast<std::size_t>(byte_of(static_cast<int>(i)))] =
          static_cast<std::int8_t>(steps[quad + i]);
}

/// A few tokens' activations as the panels of one code width and one number of groups take them.
class ActivationsOfPanels {
 public:
  void prepare(std::span<const float> x, std::size_t tokens, const PanelMatrix& matrix, Activations kind) {
    code_ = matrix.code();
    groups_ = matrix.groups();
    blocks_ = matrix.blocks();
    kind_ = kind;
    const std::size_t columns = matrix.columns(), width = blocks_ * kBlockColumns;
    sums_.assign(tokens * groups_, 0.0f);
    padded_.assign(width, 0.0f);
    if (kind != Activations::f32) {
      steps_.resize(tokens * width);
      bytes_.resize(kind == Activations::int8 ? tokens * width : 0);
      sizes_.resize(tokens * blocks_);
    } else {
      scaled_.resize(tokens * width);
    }
    for (std::size_t token = 0; token < tokens; ++token) {
      std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(token * columns), columns, padded_.begin());
      if (kind != Activations::f32)
        round_token(token);
      else
        scale_token(token);
    }
  }
  bool serve(const PanelMatrix& matrix, Activations kind) const {
    return groups_ == matrix.groups() && kind_ == kind &&
           (kind != Activations::f32 || matrix.code() == code_);
  }
  FewTokens view() const {
    return {scaled_.data(), steps_.data(), bytes_.data(), sizes_.data(), sums_.data(), blocks_, groups_};
  }

 private:
  void scale_token(std::size_t token) {
    const std::size_t width = padded_.size(), group = width / groups_;
    std::array<float, kBlockColumns> factors{};
    for (std::size_t i = 0; i < kBlockColumns; ++i) factors[i] = activation_factor(code_, i);
    scale_activations(padded_.data(), factors.data(), blocks_, scaled_.data() + token * width);
    for (std::size_t g = 0; g < groups_; ++g)
      sums_[token * groups_ + g] = sum_of(padded_.data() + g * group, group);
  }
  void round_token(std::size_t token) {
    constexpr std::size_t kParts = kBlockColumns / kSummedColumns;
    const std::size_t parts_in_group = blocks_ * kParts / groups_;
    for (std::size_t block = 0; block < blocks_; ++block) {
      std::array<float, kParts> sums{};
      const std::size_t at = token * blocks_ + block;
      std::int16_t* const steps = steps_.data() + at * kBlockColumns;
      round_to_steps(padded_.data() + block * kBlockColumns, kind_ == Activations::int8 ? 127.0f : 32767.0f,
                     steps, sizes_.data() + at, sums.data());
      if (kind_ == Activations::int8) narrow(steps, bytes_.data() + at * kBlockColumns);
      for (std::size_t part = 0; part < kParts; ++part)
        sums_[token * groups_ + (block * kParts + part) / parts_in_group] += sums[part];
    }
  }

  PanelCode code_{};
  std::size_t groups_ = 0, blocks_ = 0;
  Activations kind_ = Activations::f32;
  std::vector<float> scaled_, sizes_, sums_, padded_;
  std::vector<std::int16_t> steps_;
  std::vector<std::int8_t> bytes_;
};

/// What one matrix of a call is multiplied with.
struct Product {
  const PanelLinear* matrix;
  std::size_t first_task;  // among those of the call
  FewTokens few;           // of a call of few tokens
  float* y;                // [tokens][rows]
};

/// Rows [first, first + 16) of y, or what of them there is.
void copy_out(const float* values, std::size_t tokens, std::size_t first, std::size_t rows, float* y) {
  const std::size_t count = std::min(kPanelRows, rows - first);
  for (std::size_t token = 0; token < tokens; ++token)
    std::copy_n(values + token * kPanelRows, count, y + token * rows + first);
}

void few_tokens(const Product& product, std::size_t panel, std::size_t tokens) {
  const PanelMatrix& panels = product.matrix->panels();
  alignas(64) std::array<float, kFewTokens * kPanelRows> y;
  const PanelKernel& kernel = product.matrix->kernel_of_code();
  const Activations kind = product.matrix->activations();
  const auto& few = kind == Activations::int8    ? kernel.few_bytes
                    : kind == Activations::int16 ? kernel.few_steps
                                                 : kernel.few;
  few[tokens - 1](panels.panel(panel), product.few, y.data());
  copy_out(y.data(), tokens, panel * kPanelRows, panels.rows(), product.y);
}

/// Panels [first, end) with all tokens: unpacked side by side, [columns][rows of these panels], and
/// multiplied by OpenBLAS on the calling thread.
void many_tokens(const Product& product, std::size_t first, std::size_t end, const Rows& x) {
  const PanelMatrix& panels = product.matrix->panels();
  const std::size_t stride = (end - first) * kPanelRows, first_row = first * kPanelRows;
  thread_local std::vector<float> weights;  // kept between calls
  weights.resize(panels.blocks() * kBlockColumns * stride);
  for (std::size_t i = first; i < end; ++i)
    product.matrix->kernel_of_code().unpack(panels.panel(i), panels.blocks(),
                                            weights.data() + (i - first) * kPanelRows, stride);
  const int m = static_cast<int>(x.count()),
            n = static_cast<int>(std::min(stride, panels.rows() - first_row)),
            k = static_cast<int>(panels.columns());
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1.0f, host_values<float>(x).data(), k,
              weights.data(), static_cast<int>(stride), 0.0f, product.y + first_row,
              static_cast<int>(panels.rows()));
}

}  // namespace

bool multiply_panels(std::span<const Linear* const> matrices, const Rows& x, std::span<const Rows> outs) {
  thread_local std::vector<Product> products;  // kept between calls
  thread_local std::vector<ActivationsOfPanels> activations;
  products.clear();
  const bool few = x.count() <= kFewTokens;
  std::size_t tasks = 0, prepared = 0;
  std::uint64_t multiplications = 0;
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    const auto* matrix = dynamic_cast<const PanelLinear*>(matrices[i]);
    if (matrix == nullptr) return false;
    assert(x.width() == matrix->columns() && outs[i].width() == matrix->rows() &&
           x.count() == outs[i].count());
    products.push_back({matrix, tasks, {}, host_values<float>(outs[i]).data()});
    tasks += matrix->tasks(few);
    multiplications += x.count() * matrix->rows() * matrix->columns();
  }
  if (x.count() == 0) return true;
  if (few) {
    if (activations.size() < products.size()) activations.resize(products.size());
    for (Product& product : products) {
      const Activations kind = product.matrix->activations();
      const auto known = std::span(activations).first(prepared);
      auto found = std::ranges::find_if(
          known, [&](const ActivationsOfPanels& a) { return a.serve(product.matrix->panels(), kind); });
      if (found == known.end()) {
        activations[prepared].prepare(host_values<float>(x), x.count(), product.matrix->panels(), kind);
        found = known.begin() + static_cast<std::ptrdiff_t>(prepared++);
      }
      product.few = found->view();
    }
  }
  const std::span<const Product> all = products;  // of this thread, also within the loop's bodies
  for_each_task(tasks, multiplications, [&](std::size_t task) {
    const auto next = std::ranges::upper_bound(all, task, {}, &Product::first_task);
    const Product& product = *std::prev(next);
    const std::size_t step = product.matrix->panels_per_task(few), first = (task - product.first_task) * step,
                      end = std::min(first + step, product.matrix->panels().panels());
    if (few)
      for (std::size_t panel = first; panel < end; ++panel) few_tokens(product, panel, x.count());
    else
      many_tokens(product, first, end, x);
  });
  return true;
}

bool avx2_panels_hold(const MatrixTraits& matrix) {
  return avx2_panel_kernels() != nullptr && PanelMatrix::holds(matrix);
}
std::shared_ptr<const Linear> avx2_panel_linear(PackedMatrix matrix, Activations activations) {
  return std::make_shared<const PanelLinear>(std::move(matrix), activations, *avx2_panel_kernels(),
                                             Isa::avx2);
}
std::string avx2_panel_summary(const MatrixTraits& matrix, Activations activations) {
  return summary_of(matrix.format, activations, Isa::avx2);
}

bool neon_panels_hold(const MatrixTraits& matrix) {
  return neon_panel_kernels() != nullptr && PanelMatrix::holds(matrix);
}
std::shared_ptr<const Linear> neon_panel_linear(PackedMatrix matrix, Activations activations) {
  return std::make_shared<const PanelLinear>(std::move(matrix), activations, *neon_panel_kernels(),
                                             Isa::neon);
}
std::string neon_panel_summary(const MatrixTraits& matrix, Activations activations) {
  return summary_of(matrix.format, activations, Isa::neon);
}

}  // namespace assay::cpu
