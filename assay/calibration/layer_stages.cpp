#include "assay/calibration/layer_stages.h"

#include <algorithm>
#include <cassert>
#include <optional>
#include <utility>

#include "assay/base/error.h"
#include "assay/kernels/host_rows.h"
#include "assay/storage/tensor_blocks.h"

namespace assay {
namespace {

std::vector<std::size_t> plane_sizes(const Format& format, const MatrixShape& shape) {
  const Layout layout = format.layout(shape.columns);
  const std::uint64_t units = unit_count(layout, shape.rows, shape.columns);
  std::vector<std::size_t> sizes;
  for (const Plane& plane : layout.planes) sizes.push_back(layout.bytes(plane, units));
  return sizes;
}

OrderedJson stored_report(const CalibratedTensor& tensor) {
  OrderedJson json = tensor.report.to_json();
  json["weights"] = tensor.report.weights;
  json["squared_error"] = tensor.error.squared_error;
  json["squared_weight"] = tensor.error.squared_weight;
  json["largest_error"] = tensor.error.largest;
  return json;
}

CalibratedTensor read_stored(const ResumeStore::Entry& entry, const std::string& origin) {
  CalibratedTensor tensor;
  tensor.planes = entry.planes;
  tensor.report = CalibratedRoundingReport::from_json(entry.report, origin);
  const auto number = [&](const char* key) { return json_get<double>(entry.report, key, origin); };
  tensor.report.weights = json_get<std::uint64_t>(entry.report, "weights", origin);
  tensor.error = {number("squared_error"), number("squared_weight"), number("largest_error")};
  return tensor;
}

/// Every unit of a matrix that comes from the store must be one that a loader would take.
void require_valid(const CalibratedTensor& stored, const TensorPlan& planned, const MatrixShape& shape,
                   const std::string& folder) {
  Tensor tensor;
  tensor.name = planned.source->name;
  tensor.shape = {shape.rows, shape.columns};
  tensor.format = planned.format;
  tensor.planes.assign(stored.planes.begin(), stored.planes.end());
  tensor.file = folder;
  for (const RowBlock& block : row_blocks(*planned.format, shape)) {
    UnitBuffer buffer(planned.format->layout(shape.columns), block.units);
    read_units(tensor, block, buffer);
  }
}

std::size_t count_calibrated(const Plan& plan) {
  return static_cast<std::size_t>(std::ranges::count_if(plan.tensors, &TensorPlan::calibrated));
}

}  // namespace

/// Multiplies by what it became, once that is known.
class LayerStages::Matrix final : public Linear {
 public:
  /// `number`: its own in the store; `tensor`: in the plan.
  Matrix(std::size_t number, std::size_t tensor, std::uint64_t first_row, PackedMatrix source)
      : number_(number), tensor_(tensor), first_row_(first_row), source_(std::move(source)) {}

  void forward(const Rows& x, const Rows& y) const override { became_->forward(x, y); }
  std::uint64_t rows() const override { return source_.rows(); }
  std::uint64_t columns() const override { return source_.columns(); }
  void row(std::uint64_t, const Rows&) const override { assert(false && "no embedding is calibrated"); }
  std::string kernel() const override { return "calibration"; }

  std::size_t number() const { return number_; }
  std::size_t tensor() const { return tensor_; }
  std::uint64_t first_row() const { return first_row_; }
  const PackedMatrix& source() const { return source_; }
  MatrixShape shape() const { return {rows(), columns()}; }
  bool is_rounded() const { return became_ != nullptr; }
  /// Null: nothing any more.
  void become(std::shared_ptr<const Linear> linear) { became_ = std::move(linear); }

 private:
  std::size_t number_, tensor_;
  std::uint64_t first_row_;
  PackedMatrix source_;
  std::shared_ptr<const Linear> became_;
};

LayerStages::LayerStages(const Plan& plan, const CalibratedRoundingOptions& options, ResumeStore* store,
                         const CalibratedTensorSink& sink, ProgressSink* progress)
    : plan_(plan),
      options_(options),
      store_(store),
      sink_(sink),
      progress_(progress, "calibrate", count_calibrated(plan), "matrices") {}

LayerStages::~LayerStages() = default;

std::shared_ptr<const Linear> LayerStages::place(std::size_t tensor, const MatrixPlace& place,
                                                 PackedMatrix source) {
  const TensorPlan& planned = plan_.tensors[tensor];
  if (place.first_row % planned.format->row_granule(source.columns()) != 0)
    fail("{}: tensor {}: an expert begins inside a block of {}; choose a format whose blocks lie in rows",
         planned.source->file, place.tensor, planned.format->name());
  auto matrix = std::make_shared<Matrix>(tensor + plan_.tensors.size() * of_tensor_[tensor]++, tensor,
                                         place.first_row, std::move(source));
  matrices_[matrix.get()] = matrix.get();
  blocks_[layer_of(place.tensor)].push_back(matrix);
  return matrix;
}

void LayerStages::before(std::span<const Linear* const> group, const Rows& x) {
  std::optional<Hessian> hessian;
  for (const Linear* linear : group) {
    const auto found = matrices_.find(linear);
    if (found == matrices_.end() || found->second->is_rounded()) continue;
    Matrix& matrix = *found->second;
    const TensorPlan& planned = plan_.tensors[matrix.tensor()];
    const bool needs_inputs =
        why_without_inputs(x.count(), x.width(), is_expert_matrix(planned.role)).empty();
    try {
      if (needs_inputs && !hessian) hessian = make_hessian(host_values<float>(x), x.count(), x.width());
    } catch (const Error& problem) {
      fail("{}: tensor {}: {}", planned.source->file, planned.source->name, problem.what());
    }
    round(matrix, needs_inputs ? &*hessian : nullptr, x.count());
  }
}

/// `hessian`: null for a matrix that is rounded by its weights alone.
void LayerStages::round(Matrix& matrix, const Hessian* hessian, std::size_t tokens) {
  const TensorPlan& planned = plan_.tensors[matrix.tensor()];
  const Format& format = *planned.format;
  const MatrixShape shape = matrix.shape();
  std::vector<float> weights(shape.rows * shape.columns), stored(weights.size());
  matrix.source().decode(0, shape.rows, weights);
  CalibratedTensor done;
  done.first_row = matrix.first_row();
  RoundedMatrix rounded;
  try {
    CalibratedRoundingOptions options = options_;
    options.feedback = planned.method == Method::gptq;
    if (hessian != nullptr)
      rounded = round_calibrated(format, weights, shape.rows, *hessian, options, done.report);
    else
      rounded = round_without_inputs(
          format, weights, shape.rows, shape.columns, tokens,
          why_without_inputs(tokens, shape.columns, is_expert_matrix(planned.role)), done.report);
  } catch (const Error& problem) {
    fail("{}: tensor {}: {}", planned.source->file, planned.source->name, problem.what());
  }
  std::vector<MutableBytes> views;
  for (const std::size_t bytes : plane_sizes(format, shape)) done.planes.emplace_back(bytes);
  for (auto& plane : done.planes) views.emplace_back(plane);
  format.pack(rounded.params, rounded.codes, views);
  format.decode(rounded.params, rounded.codes, stored);
  done.error.add(weights, stored);
  if (store_ != nullptr) store_->put_tensor(matrix.number(), done.planes, stored_report(done));
  sink_(matrix.tensor(), done);
  progress_.advance(1);
  matrix.become(make_linear(PackedMatrix::of_floats(std::move(stored), shape.rows, shape.columns),
                            {Residency::decoded}));
}

void LayerStages::finish_block(int block) {
  for (const auto& matrix : blocks_[block]) {
    if (!matrix->is_rounded()) round(*matrix, nullptr, 0);
    matrix->become(nullptr);
  }
}

void LayerStages::restore_block(int block) {
  for (const auto& matrix : blocks_[block]) {
    const TensorPlan& planned = plan_.tensors[matrix->tensor()];
    const auto entry = store_->tensor(matrix->number(), plane_sizes(*planned.format, matrix->shape()));
    if (!entry)
      fail("calibration: tensor {} of a finished block is missing; remove the folder to start over",
           planned.source->name);
    CalibratedTensor stored = read_stored(*entry, planned.source->name);
    stored.first_row = matrix->first_row();
    require_valid(stored, planned, matrix->shape(), store_->folder());
    sink_(matrix->tensor(), stored);
    progress_.advance(1);
  }
}

}  // namespace assay
