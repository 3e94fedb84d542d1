#include "assay/quantize/quantizer.h"

#include <algorithm>
#include <cassert>

#include "assay/base/error.h"
#include "assay/parallel/threads.h"
#include "assay/rounding/transcode.h"
#include "assay/storage/tensor_blocks.h"

namespace assay {
namespace {

/// One tensor on its way into the writer.
struct TensorJob {
  const Tensor& source;
  const Format& format;
  std::size_t index;  // in the writer
  CheckpointWriter& writer;
  Progress& progress;

  MatrixShape shape() const { return as_matrix(source.shape); }
};

void write_planes(const TensorJob& job, const Layout& layout, const RowBlock& block,
                  std::span<const Bytes> planes) {
  for (std::size_t p = 0; p < layout.planes.size(); ++p)
    if (!layout.planes[p].per_block)
      job.writer.write(job.index, p, layout.bytes(layout.planes[p], block.first_unit), planes[p]);
}

void pack_and_write(const TensorJob& job, const Layout& layout, const RowBlock& block, UnitBuffer& buffer) {
  job.format.pack(buffer.params, buffer.codes, buffer.plane_views());
  write_planes(job, layout, block, std::vector<Bytes>(buffer.planes.begin(), buffer.planes.end()));
}

/// Stored bytes as they are (so formats that are only read can be copied too), checked on the way.
void copy_tensor(const TensorJob& job) {
  const Layout layout = job.format.layout(job.shape().columns);
  const auto blocks = row_blocks(job.format, job.shape());
  for (std::size_t p = 0; p < layout.planes.size(); ++p)
    if (layout.planes[p].per_block) job.writer.write(job.index, p, 0, job.source.planes[p]);
  parallel_for(blocks.size(), [&](std::size_t b) {
    UnitBuffer buffer(layout, blocks[b].units);
    write_planes(job, layout, blocks[b], read_units(job.source, blocks[b], buffer));
    job.progress.advance(blocks[b].rows * job.shape().columns);
  });
}

void transcode_tensor(const TensorJob& job) {
  const Layout from = job.source.format->layout(job.shape().columns),
               to = job.format.layout(job.shape().columns);
  const auto blocks = row_blocks(*job.source.format, job.shape());
  parallel_for(blocks.size(), [&](std::size_t b) {
    UnitBuffer source(from, blocks[b].units), target(to, blocks[b].units);
    read_units(job.source, blocks[b], source);
    std::string why;
    if (!transcode_units(*job.source.format, source.params, source.codes, job.format, target.params,
                         target.codes, &why))
      fail("{}: tensor {}: not lossless as {}: {}", job.source.file, job.source.name, job.format.name(), why);
    pack_and_write(job, to, blocks[b], target);
    job.progress.advance(blocks[b].rows * job.shape().columns);
  });
}

/// Rounds by blocks of rows; `method` is given weights and fills parameters and codes.
template <class Method>
RoundingError round_tensor(const TensorJob& job, const Method& method) {
  const std::uint64_t columns = job.shape().columns;
  const Layout layout = job.format.layout(columns);
  const auto blocks = row_blocks(job.format, job.shape());
  std::vector<RoundingError> errors(blocks.size());
  parallel_for(blocks.size(), [&](std::size_t b) {
    std::vector<float> weights(blocks[b].rows * columns), stored(weights.size());
    decode_rows(job.source, blocks[b].first_row, blocks[b].rows, weights);
    UnitBuffer buffer(layout, blocks[b].units);
    try {
      method(weights, buffer.params, buffer.codes);
    } catch (const Error& problem) {
      fail("{}: tensor {}: rows from {}: {}", job.source.file, job.source.name, blocks[b].first_row,
           problem.what());
    }
    pack_and_write(job, layout, blocks[b], buffer);
    job.format.decode(buffer.params, buffer.codes, stored);
    errors[b].add(weights, stored);
    job.progress.advance(weights.size());
  });
  RoundingError total;
  for (const RoundingError& error : errors) total.add(error);
  return total;
}

/// The format's own published rule.
RoundingError round_to_nearest(const TensorJob& job) {
  return round_tensor(job, [&](std::span<const float> weights, std::span<Params> params,
                               std::span<Code> codes) { job.format.reference(weights, params, codes); });
}

RoundingError search_scales(const TensorJob& job) {
  return round_tensor(job,
                      [&](std::span<const float> weights, std::span<Params> params, std::span<Code> codes) {
                        search_by_weights(job.format, weights, params, codes);
                      });
}

std::uint64_t weight_count(const Plan& plan) {
  std::uint64_t count = 0;
  for (const TensorPlan& tensor : plan.tensors) count += tensor.source->elements();
  return count;
}

}  // namespace

std::vector<TensorReport> quantize_tensors(const Plan& plan, CheckpointWriter& writer,
                                           const Calibration* calibration, ResumeStore* store,
                                           const Context& context) {
  const ThreadScope threads(context.threads);
  std::vector<TensorReport> reports(plan.tensors.size());
  {
    Progress progress(context.progress, "quantise " + plan.source->path, weight_count(plan), "weights");
    for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
      const TensorPlan& tensor = plan.tensors[i];
      const TensorJob job{*tensor.source, *tensor.format, i, writer, progress};
      if (tensor.method == Method::copy)
        copy_tensor(job);
      else if (tensor.method == Method::transcode)
        transcode_tensor(job);
      else if (!tensor.calibrated)
        reports[i].error = tensor.method == Method::search ? search_scales(job) : round_to_nearest(job);
    }
  }
  if (std::ranges::none_of(plan.tensors, &TensorPlan::calibrated)) return reports;
  assert(calibration != nullptr);
  calibrate_tensors(plan, calibration->text, calibration->rounding, store, context,
                    [&](std::size_t i, const CalibratedTensor& tensor) {
                      const TensorPlan& planned = plan.tensors[i];
                      const std::uint64_t columns = as_matrix(planned.source->shape).columns;
                      const Layout layout = planned.format->layout(columns);
                      for (std::size_t p = 0; p < tensor.planes.size(); ++p)
                        writer.write(i, p,
                                     layout.bytes(layout.planes[p], tensor.first_row * columns / layout.run),
                                     tensor.planes[p]);
                      TensorReport& report = reports[i];
                      report.error.add(tensor.error);
                      if (!report.calibration) report.calibration.emplace();
                      report.calibration->add_matrix(tensor.report);
                      report.tokens.push_back(tensor.report.tokens);
                    });
  return reports;
}

void transcode_tensors(const Plan& plan, CheckpointWriter& writer, ProgressSink* sink) {
  Progress progress(sink, "convert", weight_count(plan), "weights");
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const TensorPlan& tensor = plan.tensors[i];
    const TensorJob job{*tensor.source, *tensor.format, i, writer, progress};
    tensor.method == Method::copy ? copy_tensor(job) : transcode_tensor(job);
  }
}

}  // namespace assay
