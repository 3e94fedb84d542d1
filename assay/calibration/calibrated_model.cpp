#include "assay/calibration/calibrated_model.h"

#include <algorithm>
#include <cassert>
#include <mutex>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/base/progress.h"
#include "assay/calibration/block_run.h"
#include "assay/calibration/distinct_share.h"
#include "assay/kernels/host_rows.h"
#include "assay/model/model.h"
#include "assay/rounding/effective_tokens.h"
#include "assay/rounding/rounded_plainly.h"
#include "assay/storage/tensor_blocks.h"

namespace assay {
namespace {

std::vector<std::size_t> plane_sizes(const Format& format, const MatrixShape& shape) {
  const Layout layout = format.layout(shape.columns);
  const std::uint64_t units = unit_count(layout, shape.rows, shape.columns);
  std::vector<std::size_t> sizes;
  for (const Plane& plane : layout.planes) sizes.push_back(units * plane.bytes_per_unit);
  return sizes;
}

/// Everything that the matrices of one calibration share.
struct Run {
  const Plan& plan;
  CalibratedRoundingOptions options;
  ResumeStore* store;
  const std::function<void(std::size_t, const CalibratedTensor&)>& finished;
  HessianCache hessians;
  Progress progress;
};

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
  const auto number = [&](const char* key) { return json_get<double>(entry.report, key, origin); };
  const auto count = [&](const char* key) { return json_get<std::uint64_t>(entry.report, key, origin); };
  CalibratedRoundingReport& report = tensor.report;
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
  report.weights = count("weights");
  if (entry.report.contains("without_inputs"))
    report.without_inputs = json_get<std::string>(entry.report, "without_inputs", origin);
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

/// A linear layer that is rounded when its inputs are first seen, and multiplies by what it became.
class CalibratedLinear final : public Linear {
 public:
  /// `number`: its own in the store; `tensor`: in the plan.
  CalibratedLinear(Run& run, std::size_t number, std::size_t tensor, std::uint64_t first_row,
                   PackedMatrix source)
      : run_(run), number_(number), tensor_(tensor), first_row_(first_row), source_(std::move(source)) {}

  void forward(const Rows& x, const Rows& y) const override {
    if (!rounded_) round(host_values<float>(x), x.count());
    rounded_->forward(x, y);
  }
  std::size_t number() const { return number_; }
  std::size_t tensor() const { return tensor_; }
  std::uint64_t first_row() const { return first_row_; }
  std::uint64_t rows() const override { return source_.rows(); }
  std::uint64_t columns() const override { return source_.columns(); }
  void row(std::uint64_t, const Rows&) const override { assert(false && "no embedding is calibrated"); }
  std::string kernel() const override { return "calibration"; }

  /// The block is done: rounds what no token came by, and forgets the rounded matrix.
  void finish() const {
    if (!rounded_) round({}, 0);
    rounded_.reset();
  }

 private:
  void round(std::span<const float> x, std::size_t tokens) const {
    const TensorPlan& planned = run_.plan.tensors[tensor_];
    const MatrixShape shape{rows(), columns()};
    std::string why = why_without_inputs(tokens, shape.columns, is_expert_matrix(planned.role));
    std::vector<float> weights(shape.rows * shape.columns), stored(weights.size());
    source_.decode(0, shape.rows, weights);
    CalibratedTensor done;
    done.first_row = first_row_;
    RoundedMatrix matrix;
    try {
      CalibratedRoundingOptions options = run_.options;
      options.feedback = planned.method == Method::gptq;
      if (why.empty())
        matrix = round_calibrated(*planned.format, weights, shape.rows,
                                  run_.hessians.of(x, tokens, shape.columns), options, done.report);
      else
        matrix = round_without_inputs(*planned.format, weights, shape.rows, shape.columns, tokens,
                                      std::move(why), done.report);
    } catch (const Error& problem) {
      fail("{}: tensor {}: {}", planned.source->file, planned.source->name, problem.what());
    }
    std::vector<MutableBytes> views;
    for (const std::size_t bytes : plane_sizes(*planned.format, shape)) done.planes.emplace_back(bytes);
    for (auto& plane : done.planes) views.emplace_back(plane);
    planned.format->pack(matrix.params, matrix.codes, views);
    planned.format->decode(matrix.params, matrix.codes, stored);
    done.error.add(weights, stored);
    if (run_.store) run_.store->put_tensor(number_, done.planes, stored_report(done));
    run_.finished(tensor_, done);
    run_.progress.advance(1);
    rounded_ = make_linear(PackedMatrix::of_floats(std::move(stored), shape.rows, shape.columns),
                           {Residency::decoded});
  }

  Run& run_;
  std::size_t number_, tensor_;
  std::uint64_t first_row_;
  PackedMatrix source_;
  mutable std::shared_ptr<const Linear> rounded_;
};

std::size_t count_calibrated(const Plan& plan) {
  return static_cast<std::size_t>(std::ranges::count_if(plan.tensors, &TensorPlan::calibrated));
}

}  // namespace

void calibrate_tensors(const Plan& plan, const CalibrationText& text,
                       const CalibratedRoundingOptions& options, ResumeStore* store, MemorySource& memory,
                       const std::function<void(std::size_t, const CalibratedTensor&)>& finished) {
  Run run{plan, options, store, finished, {}, Progress("calibrate", count_calibrated(plan), "matrices")};
  run.options.distinct_share = distinct_share(text.windows);
  std::map<int, std::vector<std::shared_ptr<const CalibratedLinear>>> blocks;
  std::map<std::size_t, std::size_t> matrices;  // of each tensor: several of a stack
  const std::string scratch_folder = store ? store->folder() : "";
  LoadOptions load;
  load.factory = [&](const MatrixPlace& place, PackedMatrix matrix) -> std::shared_ptr<const Linear> {
    const std::string& name = place.tensor;
    const auto found =
        std::ranges::find_if(plan.tensors, [&](const auto& t) { return t.source->name == name; });
    assert(found != plan.tensors.end());
    const auto index = static_cast<std::size_t>(found - plan.tensors.begin());
    if (found->calibrated) {
      if (place.first_row % found->format->row_granule(matrix.columns()) != 0)
        fail("{}: tensor {}: an expert begins inside a block of {}; choose a format whose blocks lie in rows",
             found->source->file, name, found->format->name());
      auto linear = std::make_shared<const CalibratedLinear>(
          run, index + plan.tensors.size() * matrices[index]++, index, place.first_row, std::move(matrix));
      blocks[layer_of(name)].push_back(linear);
      return linear;
    }
    if (found->method != Method::copy && found->method != Method::transcode && found->format->can_encode())
      matrix = as_rounded_plainly(matrix, found->format, scratch_folder);
    return make_linear(std::move(matrix), {Residency::packed});
  };
  const auto model = Model::load(plan.source, load);
  const ModelConfig& config = model->config();

  BlockRun run_of_blocks(*model, text, memory);
  const int done = store ? store->finished_blocks() : 0;
  if (done > 0)
    run_of_blocks.start_at(store->hidden(run_of_blocks.hidden().size()));
  else
    run_of_blocks.start();
  for (int block = 0; block < done; ++block)
    for (const auto& linear : blocks[block]) {
      const TensorPlan& planned = plan.tensors[linear->tensor()];
      const auto entry =
          store->tensor(linear->number(), plane_sizes(*planned.format, {linear->rows(), linear->columns()}));
      if (!entry)
        fail("calibration: tensor {} of a finished block is missing; remove the folder to start over",
             planned.source->name);
      CalibratedTensor stored = read_stored(*entry, planned.source->name);
      stored.first_row = linear->first_row();
      require_valid(stored, planned, {linear->rows(), linear->columns()}, store->folder());
      finished(linear->tensor(), stored);
      run.progress.advance(1);
    }
  for (int block = done; block < config.layers; ++block) {
    run_of_blocks.forward(block);
    for (const auto& linear : blocks[block]) linear->finish();
    if (store) store->finish_block(block + 1, run_of_blocks.hidden());
  }
}

}  // namespace assay
