#include "assay/rotation/rotation_gate.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/kernels/host_rows.h"
#include "assay/parallel/threads.h"
#include "assay/runtime/session.h"

namespace assay {
namespace {

constexpr double kSmallestNorm = 1e-30;

/// Sums of Deviation over vectors.
class DeviationSums {
 public:
  /// Every column of got and wanted [any, width] is a vector, number `first` and on of `what`.
  void add_columns(std::span<const double> got, std::span<const double> wanted, std::size_t width,
                   const std::string& what, std::uint64_t first = 0) {
    for (std::size_t c = 0; c < width; ++c) add_column(got, wanted, width, c, what, first + c);
  }
  void add(const DeviationSums& other) {
    if (other.vectors_ > 0 && (vectors_ == 0 || other.deviation_.largest > deviation_.largest))
      deviation_ = other.deviation_;
    vectors_ += other.vectors_;
    means_ += other.means_;
  }
  Deviation result(const std::string& path, double tolerance) const {
    Deviation deviation = deviation_;
    deviation.mean = means_ / static_cast<double>(std::max<std::uint64_t>(1, vectors_));
    if (!(deviation.largest <= tolerance))
      fail(
          "{}: rotation refused: {} deviates by {:.3g} of its norm from the original, at most "
          "{:.3g} expected",
          path, deviation.where, deviation.largest, tolerance);
    return deviation;
  }

 private:
  void add_column(std::span<const double> got, std::span<const double> wanted, std::size_t width,
                  std::size_t c, const std::string& what, std::uint64_t number) {
    double squares = 0, difference = 0;
    for (std::size_t i = c; i < wanted.size(); i += width) {
      difference += (got[i] - wanted[i]) * (got[i] - wanted[i]);
      squares += wanted[i] * wanted[i];
    }
    // A vector of zeros must come back as zeros; weights at the end of f32's range lose digits nobody misses.
    const double deviation = std::sqrt(difference) / std::max(std::sqrt(squares), kSmallestNorm);
    means_ += deviation;
    if (vectors_++ > 0 && deviation <= deviation_.largest) return;
    deviation_.largest = deviation;
    deviation_.where = fmt::format("{} {}", what, number);
  }

  Deviation deviation_;
  double means_ = 0;
  std::uint64_t vectors_ = 0;
};

std::vector<double> widened(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

/// Panels of one tensor, un-rotated, against those of the source.
DeviationSums compare_panels(const Tensor& wanted, const Tensor& got, const RotationStep& step,
                             const Rotation& rotation, const std::function<void(std::span<double>)>& fuse) {
  const MatrixShape shape = as_matrix(step.shape);
  const bool columns = step.action == RotationAction::rotate_columns;
  std::vector<float> wanted_matrix, got_matrix;  // columns need the whole
  if (columns) {
    wanted_matrix = decode_in_parallel(wanted);
    got_matrix = decode_in_parallel(got);
  }
  const std::uint64_t vectors = columns ? shape.columns : shape.rows;
  const std::string what = fmt::format("tensor {}, {}", step.name, columns ? "column" : "row");
  std::vector<DeviationSums> parts(ceil_divide(vectors, kPanelWidth));
  parallel_for(parts.size(), [&](std::size_t p) {
    const std::uint64_t first = p * kPanelWidth, width = std::min(kPanelWidth, vectors - first);
    std::vector<double> expected =
        columns ? column_panel(wanted_matrix, shape.columns, first, width) : row_panel(wanted, first, width);
    std::vector<double> undone =
        columns ? column_panel(got_matrix, shape.columns, first, width) : row_panel(got, first, width);
    fuse(expected);
    rotation.undo(undone, width);
    parts[p].add_columns(undone, expected, width, what, first);
  });
  DeviationSums sums;
  for (const DeviationSums& part : parts) sums.add(part);
  return sums;
}

OrderedJson deviation_json(const Deviation& deviation) {
  return {{"largest", deviation.largest}, {"mean", deviation.mean}, {"where", deviation.where}};
}

}  // namespace

OrderedJson gate_json(const RotationGate& gate) {
  return {{"tolerance", gate.tolerance},
          {"tokens", gate.tokens},
          {"elements", deviation_json(gate.elements)},
          {"hidden", deviation_json(gate.hidden)},
          {"logits", deviation_json(gate.logits)}};
}

Deviation check_elements(const Checkpoint& source, const Checkpoint& rotated, const RotationPlan& plan,
                         const Rotation& rotation, double tolerance, ProgressSink* sink) {
  if (rotated.tensors.size() != plan.steps.size())
    fail("{}: rotation refused: {} tensors, the plan has {}", rotated.path, rotated.tensors.size(),
         plan.steps.size());
  std::uint64_t weights = 0;
  for (const Tensor& tensor : rotated.tensors) weights += tensor.elements();
  Progress progress(sink, "check " + rotated.path, weights, "weights");
  DeviationSums sums;
  for (const RotationStep& step : plan.steps) {
    const Tensor &wanted = source.at(step.source), &got = rotated.at(step.name);
    if (got.shape != step.shape)
      fail("{}: rotation refused: tensor {}: shape is {}, the plan says {}", rotated.path, step.name,
           shape_text(got.shape), shape_text(step.shape));
    if (step.action == RotationAction::keep) {
      sums.add_columns(widened(decode_all(got)), widened(decode_all(wanted)), 1, "tensor " + step.name);
    } else if (step.action == RotationAction::neutral_norm) {
      const std::vector<double> neutral(got.elements(), static_cast<double>(neutral_norm(plan.convention)));
      sums.add_columns(widened(decode_all(got)), neutral, 1, "tensor " + step.name);
    } else {
      const auto norm = step.norm.empty() ? std::vector<float>{} : decode_all(source.at(step.norm));
      sums.add(compare_panels(wanted, got, step, rotation, [&](std::span<double> panel) {
        if (!norm.empty()) fuse_norm(panel, norm, plan.convention);
      }));
    }
    progress.advance(wanted.elements());
  }
  return sums.result(rotated.path, tolerance);
}

namespace {

/// What a model says to one sequence from position 0, in f64, feature by feature: [features, tokens].
struct Float64Forward {
  std::vector<std::vector<double>> residual;  // after the embedding, then after every block
  std::vector<double> logits;
};

std::vector<double> by_feature(const Rows& rows) {
  const std::span<const double> values = host_values<double>(rows);
  std::vector<double> turned(values.size());
  for (std::size_t t = 0; t < rows.count(); ++t)
    for (std::size_t j = 0; j < rows.width(); ++j)
      turned[j * rows.count() + t] = values[t * rows.width() + j];
  return turned;
}

/// The blocks of the fast forward pass on the reference backend. Slow, of few tokens.
Float64Forward run_float64(const Checkpoint& checkpoint, std::span<const std::int32_t> tokens) {
  LoadOptions options;
  options.context.ops = &reference_ops();
  options.factory = [](const MatrixPlace&, PackedMatrix matrix) {
    return reference_ops().matrix(std::move(matrix), {});
  };
  const ModelPtr model = Model::load(CheckpointPtr(CheckpointPtr(), &checkpoint), options);
  const auto state = make_sequence_state(*model);
  const Chunk chunk{state.get(), tokens};
  Workspace workspace;
  const Rows hidden =
      workspace.take(Element::f64, tokens.size(), static_cast<std::size_t>(model->config().hidden));
  Float64Forward result;
  model->embed({&chunk, 1}, hidden);
  result.residual.push_back(by_feature(hidden));
  for (int block = 0; block < model->config().layers; ++block) {
    model->forward_block(block, {&chunk, 1}, hidden, workspace);
    result.residual.push_back(by_feature(hidden));
  }
  model->final_norm(hidden);
  result.logits = by_feature(model->logits(hidden, workspace));
  return result;
}

}  // namespace

ForwardDeviation check_forward(const Checkpoint& source, const Checkpoint& rotated, const Rotation& rotation,
                               std::span<const std::int32_t> tokens, double tolerance) {
  const Float64Forward wanted = run_float64(source, tokens);
  Float64Forward got = run_float64(rotated, tokens);
  if (got.residual.size() != wanted.residual.size() || got.logits.size() != wanted.logits.size())
    fail("{}: rotation refused: the config changed its sizes", rotated.path);
  DeviationSums hidden, logits;
  for (std::size_t n = 0; n < got.residual.size(); ++n) {
    rotation.undo(got.residual[n], tokens.size());
    hidden.add_columns(got.residual[n], wanted.residual[n], tokens.size(),
                       fmt::format("residual stream after {} blocks, token", n));
  }
  logits.add_columns(got.logits, wanted.logits, tokens.size(), "logits of token");
  return {hidden.result(rotated.path, tolerance), logits.result(rotated.path, tolerance)};
}

RotationGate check_rotation(const Checkpoint& source, const Checkpoint& rotated, const RotationPlan& plan,
                            const Rotation& rotation, ProgressSink* progress) {
  constexpr std::int64_t kTokens = 8;
  RotationGate gate;
  for (std::int64_t i = 0; i < kTokens; ++i)
    gate.tokens.push_back(static_cast<std::int32_t>((2 * i + 1) * plan.config.vocabulary / (2 * kTokens)));
  gate.elements = check_elements(source, rotated, plan, rotation, gate.tolerance, progress);
  const ForwardDeviation forward = check_forward(source, rotated, rotation, gate.tokens, gate.tolerance);
  gate.hidden = forward.hidden;
  gate.logits = forward.logits;
  return gate;
}

}  // namespace assay
