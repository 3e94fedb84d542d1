#include "assay/rotation/rotation.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/base/scratch_file.h"
#include "assay/formats/table.h"
#include "assay/model/checksums.h"
#include "assay/parallel/threads.h"
#include "assay/storage/provenance.h"
#include "assay/storage/tensor_blocks.h"

namespace assay {
namespace {

/// Sums of Symmetry over some rows.
class SymmetrySums {
 public:
  void add_row(std::span<const float> row) {
    constexpr std::size_t kGroup = 32;
    double sum = 0;
    for (std::size_t first = 0; first < row.size(); first += kGroup) {
      const auto group = row.subspan(first, std::min(kGroup, row.size() - first));
      const auto [low, high] = std::ranges::minmax(group);
      for (const float weight : group) sum += static_cast<double>(weight);
      largest_ =
          std::max({largest_, std::abs(static_cast<double>(low)), std::abs(static_cast<double>(high))});
      if (low == high) continue;
      skew_ += std::abs(static_cast<double>(low) + static_cast<double>(high)) /
               (static_cast<double>(high) - static_cast<double>(low));
      ++groups_;
    }
    row_means_ += std::abs(sum) / static_cast<double>(row.size());
    ++rows_;
  }
  void add(const SymmetrySums& other) {
    row_means_ += other.row_means_;
    skew_ += other.skew_;
    largest_ = std::max(largest_, other.largest_);
    rows_ += other.rows_;
    groups_ += other.groups_;
  }
  Symmetry result() const {
    return {largest_ > 0 ? row_means_ / static_cast<double>(rows_) / largest_ : 0,
            groups_ > 0 ? skew_ / static_cast<double>(groups_) : 0};
  }

 private:
  double row_means_ = 0, skew_ = 0, largest_ = 0;
  std::uint64_t rows_ = 0, groups_ = 0;
};

SymmetrySums sums_of(std::span<const float> rows, std::uint64_t columns) {
  SymmetrySums sums;
  for (std::size_t at = 0; at < rows.size(); at += columns) sums.add_row(rows.subspan(at, columns));
  return sums;
}

/// In a fixed order, so that the result does not depend on threads.
Symmetry total(std::span<const SymmetrySums> parts) {
  SymmetrySums sums;
  for (const SymmetrySums& part : parts) sums.add(part);
  return sums.result();
}

Symmetry symmetry_of(std::span<const float> matrix, std::uint64_t columns) {
  constexpr std::uint64_t kRows = 256;
  std::vector<SymmetrySums> parts(ceil_divide(matrix.size(), kRows * columns));
  parallel_for(parts.size(), [&](std::size_t p) {
    const auto rest = matrix.subspan(p * kRows * columns);
    parts[p] = sums_of(rest.first(std::min<std::size_t>(rest.size(), kRows * columns)), columns);
  });
  return total(parts);
}

/// One tensor on its way into the scratch file.
struct RotationJob {
  const Tensor& source;
  const RotationStep& step;
  const RotationPlan& plan;
  const Rotation& rotation;
  const ScratchFile& file;
  std::uint64_t offset;  // in the file
};

std::vector<float> rows_of_panel(std::span<const double> panel, std::uint64_t width) {
  const std::uint64_t columns = panel.size() / width;
  std::vector<float> rows(panel.size());
  for (std::uint64_t r = 0; r < width; ++r)
    for (std::uint64_t j = 0; j < columns; ++j)
      rows[r * columns + j] = static_cast<float>(panel[j * width + r]);
  return rows;
}

RotatedTensor rotate_rows(const RotationJob& job, const std::vector<float>& norm) {
  const MatrixShape shape = as_matrix(job.step.shape);
  const std::uint64_t panels = ceil_divide(shape.rows, kPanelWidth);
  std::vector<SymmetrySums> fused(panels), rotated(panels);
  parallel_for(panels, [&](std::size_t p) {
    const std::uint64_t first = p * kPanelWidth, width = std::min(kPanelWidth, shape.rows - first);
    std::vector<double> panel = row_panel(job.source, first, width);
    if (!norm.empty()) fuse_norm(panel, norm, job.plan.convention);
    fused[p] = sums_of(rows_of_panel(panel, width), shape.columns);
    job.rotation.apply(panel, width);
    const std::vector<float> rows = rows_of_panel(panel, width);
    rotated[p] = sums_of(rows, shape.columns);
    job.file.write_at(job.offset + first * shape.columns * sizeof(float), std::as_bytes(std::span(rows)));
  });
  return {job.step.name, total(fused), total(rotated)};
}

/// Columns turn across all rows, so the matrix is held, in f32.
RotatedTensor rotate_columns(const RotationJob& job) {
  const MatrixShape shape = as_matrix(job.step.shape);
  std::vector<float> matrix = decode_in_parallel(job.source);
  const Symmetry fused = symmetry_of(matrix, shape.columns);
  parallel_for(ceil_divide(shape.columns, kPanelWidth), [&](std::size_t p) {
    const std::uint64_t first = p * kPanelWidth, width = std::min(kPanelWidth, shape.columns - first);
    std::vector<double> panel = column_panel(matrix, shape.columns, first, width);
    job.rotation.apply(panel, width);
    for (std::uint64_t i = 0; i < shape.rows; ++i)
      for (std::uint64_t c = 0; c < width; ++c)
        matrix[i * shape.columns + first + c] = static_cast<float>(panel[i * width + c]);
  });
  job.file.write_at(job.offset, std::as_bytes(std::span(matrix)));
  return {job.step.name, fused, symmetry_of(matrix, shape.columns)};
}

/// What the config says of the rotated model: the head is its own, weights are f32, and how they were turned.
Json rotated_config(const Checkpoint& source, const RotationPlan& plan, const Rotation& rotation) {
  Json config = source.config;
  std::vector<Json*> levels = {&config};
  if (&text_config(config) != &config) levels.push_back(&config["text_config"]);
  for (Json* level : levels) {
    if (plan.config.tied_head && level->contains("tie_word_embeddings"))
      (*level)["tie_word_embeddings"] = false;
    for (const char* key : {"dtype", "torch_dtype"})
      if (level->contains(key)) (*level)[key] = "float32";
    // The key of published QuaRot directories, whose only rotation is a single block.
    if (rotation.block() == rotation.size()) (*level)["quarot_rotation_seed"] = rotation.seed();
  }
  config[kRotationKey] = {{"version", kRotationVersion},
                          {"kind", rotation_kind_name(rotation.kind())},
                          {"seed", rotation.seed()},
                          {"block", rotation.block()}};
  return config;
}

bool is_made(const RotationStep& step) {
  return step.action != RotationAction::keep;
}

}  // namespace

Symmetry symmetry_of(const Tensor& tensor) {
  const MatrixShape shape = as_matrix(tensor.shape);
  const std::vector<RowBlock> blocks = row_blocks(*tensor.format, shape);
  std::vector<SymmetrySums> parts(blocks.size());
  parallel_for(blocks.size(), [&](std::size_t b) {
    std::vector<float> rows(blocks[b].rows * shape.columns);
    decode_rows(tensor, blocks[b].first_row, blocks[b].rows, rows);
    parts[b] = sums_of(rows, shape.columns);
  });
  return total(parts);
}

OrderedJson symmetry_json(const Symmetry& symmetry) {
  return {{"row_mean", symmetry.row_mean}, {"group_skew", symmetry.group_skew}};
}

CheckpointPtr apply_rotation(const CheckpointPtr& source, const RotationPlan& plan, const Rotation& rotation,
                             const std::string& scratch_directory, std::vector<RotatedTensor>* tensors,
                             ProgressSink* sink) {
  std::uint64_t weights = 0;
  for (const RotationStep& step : plan.steps)
    if (is_made(step)) weights += checked_product(step.shape).value();
  const auto file = std::make_shared<ScratchFile>(scratch_directory, weights * sizeof(float));
  auto rotated = std::make_shared<Checkpoint>(*source);
  rotated->manifest = inherited_manifest(*source);  // the rest describes the planes of the source
  rotated->tensors.clear();
  rotated->config = rotated_config(*source, plan, rotation);
  rotated->sidecars["config.json"] = rotated->config.dump(2) + "\n";
  if (rotation.kind() != RotationKind::identity)
    rotated->warnings.push_back(
        fmt::format("{}: weights live in a rotated basis; do not compare them with the original tensor by "
                    "tensor",
                    source->path));

  Progress progress(sink, "rotate " + source->path, weights, "weights");
  std::uint64_t offset = 0;
  for (const RotationStep& step : plan.steps) {
    const Tensor& origin = source->at(step.source);
    Tensor& tensor = rotated->tensors.emplace_back(origin);
    if (!is_made(step)) continue;
    tensor.name = step.name;
    tensor.format = find_format("f32");
    tensor.dtype = DType::F32;
    tensor.stored = {};
    tensor.checksum.reset();
    tensor.planes = {file->bytes().subspan(offset, tensor.elements() * sizeof(float))};
    tensor.owners = {file};
    const RotationJob job{origin, step, plan, rotation, *file, offset};
    std::optional<RotatedTensor> report;
    if (step.action == RotationAction::neutral_norm) {
      const std::vector<float> neutral(tensor.elements(), neutral_norm(plan.convention));
      file->write_at(offset, std::as_bytes(std::span(neutral)));
    } else if (step.action == RotationAction::rotate_rows)
      report = rotate_rows(job, step.norm.empty() ? std::vector<float>{} : decode_all(source->at(step.norm)));
    else
      report = rotate_columns(job);
    if (report && tensors != nullptr) tensors->push_back(*report);
    offset += tensor.elements() * sizeof(float);
    progress.advance(tensor.elements());
  }
  return rotated;
}

OrderedJson rotation_json(const RotationReport& report) {
  OrderedJson tensors = OrderedJson::object();
  for (const RotatedTensor& tensor : report.tensors)
    tensors[tensor.name] = {{"fused", symmetry_json(tensor.fused)},
                            {"rotated", symmetry_json(tensor.rotated)}};
  return {{"version", kRotationVersion},
          {"kind", std::string(rotation_kind_name(report.kind))},
          {"seed", report.seed},
          {"size", report.size},
          {"block", report.block},
          {"untied_head", report.untied},
          {"untied_weights", report.untied_weights},
          {"untied_bytes", report.untied_bytes},
          {"gate", gate_json(report.gate)},
          {"symmetry", std::move(tensors)}};
}

CheckpointPtr rotate_checkpoint(const CheckpointPtr& source, const RotationOptions& options,
                                RotationReport* report) {
  const ThreadScope threads(options.context.threads);
  require_checksums(*source);
  const RotationPlan plan = plan_rotation(*source);
  const Rotation rotation(options.kind, static_cast<std::size_t>(plan.config.hidden), options.seed);
  RotationReport made;
  made.kind = options.kind;
  made.seed = options.seed;
  made.size = rotation.size();
  made.block = rotation.block();
  for (const RotationStep& step : plan.steps) {
    if (step.name == step.source) continue;
    made.untied = true;
    made.untied_weights = source->at(step.source).elements();
    made.untied_bytes = source->at(step.source).stored_bytes();
  }
  CheckpointPtr rotated = apply_rotation(source, plan, rotation, options.scratch_directory, &made.tensors,
                                         options.context.progress);
  made.gate = check_rotation(*source, *rotated, plan, rotation, options.context.progress);
  if (report != nullptr) *report = std::move(made);
  return rotated;
}

}  // namespace assay
