#include "assay/model/weights.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <fstream>
#include <utility>

#include "assay/base/error.h"
#include "assay/base/heap.h"
#include "assay/kernels/table.h"
#include "assay/model/roles.h"

namespace assay {

namespace {

/// What stands before "embed_tokens.weight".
std::string find_prefix(const Checkpoint& checkpoint) {
  constexpr std::string_view kEmbeddingName = "embed_tokens.weight";
  const Tensor* found = nullptr;
  for (const Tensor& tensor : checkpoint.tensors) {
    if (classify_tensor(tensor.name) != Role::embedding) continue;
    if (found != nullptr)
      fail("{}: tensors {} and {}: two token embeddings", checkpoint.path, found->name, tensor.name);
    found = &tensor;
  }
  if (found == nullptr) fail("{}: tensor model.{} is missing", checkpoint.path, kEmbeddingName);
  return found->name.substr(0, found->name.size() - kEmbeddingName.size());
}

}  // namespace

void project(const Ops& ops, std::initializer_list<const Projection*> projections, const Rows& x,
             std::initializer_list<Rows> outs) {
  std::array<const Linear*, 8> matrices{};
  assert(projections.size() == outs.size() && projections.size() <= matrices.size());
  std::ranges::transform(projections, matrices.begin(), [](const Projection* p) { return p->weight.get(); });
  ops.linear_group(std::span(matrices).first(projections.size()), x, outs);
  for (std::size_t i = 0; i < projections.size(); ++i)
    if (const Projection& projection = *projections.begin()[i]; projection.bias)
      ops.add_bias(outs.begin()[i], *projection.bias);
}

WeightLoader::WeightLoader(CheckpointPtr checkpoint, const Ops& ops, const LinearOptions& options,
                           LinearFactory factory)
    : checkpoint_(std::move(checkpoint)),
      ops_(ops),
      options_(options),
      factory_(std::move(factory)),
      prefix_(find_prefix(*checkpoint_)) {}

const Tensor& WeightLoader::take(const std::string& name, const Shape& shape) {
  const Tensor& tensor = checkpoint_->at(name);
  if (tensor.shape != shape)
    fail("{}: tensor {}: shape is {}, the config says {}", tensor.file, name, shape_text(tensor.shape),
         shape_text(shape));
  if (tensor.format == nullptr)
    fail("{}: tensor {}: dtype {} holds no weights", tensor.file, name, dtype_name(tensor.dtype));
  taken_.insert(name);
  return tensor;
}

std::vector<float> WeightLoader::values(const std::string& name, const Shape& shape) {
  return decode_all(take(name, shape));
}

VectorPtr WeightLoader::vector(const std::string& name, std::uint64_t size) {
  const std::vector<float> stored = values(name, {size});
  return ops_.vector(std::vector<double>(stored.begin(), stored.end()));
}

VectorPtr WeightLoader::norm(const std::string& name, std::uint64_t size, bool shifted) {
  const std::vector<float> stored = values(name, {size});
  std::vector<double> gain(stored.begin(), stored.end());
  if (shifted)
    for (double& value : gain) value += 1.0;
  return ops_.vector(gain);
}

std::shared_ptr<const Linear> WeightLoader::matrix(const std::string& name, std::uint64_t rows,
                                                   std::uint64_t columns) {
  return build({name}, take(name, {rows, columns}), rows);
}

std::shared_ptr<const Linear> WeightLoader::matrix_of_stack(const std::string& name, const StackSlice& slice,
                                                            std::uint64_t rows, std::uint64_t columns) {
  return build({name, slice.first_row(rows), false}, take_stack(name, slice, rows, columns), rows);
}

const Tensor& WeightLoader::take_stack(const std::string& name, const StackSlice& slice, std::uint64_t rows,
                                       std::uint64_t columns) {
  return take(name, {slice.count, slice.parts * rows, columns});
}

Tensor WeightLoader::stored_matrix(const std::string& name, std::uint64_t rows, std::uint64_t columns) {
  return left_on_disk(take(name, {rows, columns}), 0, rows);
}

Tensor WeightLoader::stored_matrix_of_stack(const std::string& name, const StackSlice& slice,
                                            std::uint64_t rows, std::uint64_t columns) {
  return left_on_disk(take_stack(name, slice, rows, columns), slice.first_row(rows), rows);
}

Tensor WeightLoader::left_on_disk(const Tensor& tensor, std::uint64_t first_row, std::uint64_t rows) {
  ++kernels_[fmt::format(
      "{}: read when needed, {}", tensor.format->name(),
      kernel_summary({*tensor.format, rows, as_matrix(tensor.shape).columns}, {Residency::stored}))];
  return row_slice(tensor, first_row, rows, tensor.name);
}

std::shared_ptr<const Linear> WeightLoader::build(const MatrixPlace& place, const Tensor& tensor,
                                                  std::uint64_t rows) {
  PackedMatrix matrix = packed_matrix(tensor).slice(place.first_row, rows);
  std::shared_ptr<const Linear> linear =
      factory_ ? factory_(place, std::move(matrix)) : ops_.matrix(std::move(matrix), options_);
  ++kernels_[tensor.format->name() + ": " + linear->kernel()];
  return linear;
}

Projection WeightLoader::projection(const std::string& module, std::uint64_t rows, std::uint64_t columns,
                                    bool with_bias) {
  Projection projection{matrix(module + ".weight", rows, columns), {}};
  if (with_bias) projection.bias = vector(module + ".bias", rows);
  return projection;
}

void WeightLoader::take_duplicate(const std::string& name, const std::string& original) {
  const Tensor& kept = checkpoint_->at(original);
  const Tensor& copy = take(name, kept.shape);
  const auto same_bytes = [](Bytes a, Bytes b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); };
  if (copy.format->name() != kept.format->name() ||
      !std::equal(copy.planes.begin(), copy.planes.end(), kept.planes.begin(), kept.planes.end(), same_bytes))
    fail("{}: tensor {}: differs from {}, but tie_word_embeddings is true", copy.file, name, original);
}

void WeightLoader::finish() {
  for (const Tensor& tensor : checkpoint_->tensors) {
    if (taken_.contains(tensor.name)) continue;
    const Role role = require_role(tensor.name, tensor.file);
    if (role != Role::vision && role != Role::multi_token_prediction)
      fail("{}: tensor {}: the architecture in config.json has no such tensor", tensor.file, tensor.name);
    ++unused_;
  }
}

std::vector<std::string> WeightLoader::report() const {
  std::vector<std::string> lines;
  for (const auto& [kernel, matrices] : kernels_)
    lines.push_back(fmt::format("{} ({} {})", kernel, matrices, matrices == 1 ? "matrix" : "matrices"));
  if (unused_ > 0)
    lines.push_back(fmt::format("not used: {} vision or multi-token-prediction tensors", unused_));
  return lines;
}

Residency resolve_residency(Residency wanted, const Checkpoint& checkpoint, bool without_experts) {
  if (wanted != Residency::automatic) return wanted;
  std::uint64_t decoded = 0;
  for (const Tensor& tensor : checkpoint.tensors) {
    const std::optional<Role> role = classify_tensor(tensor.name);
    if (without_experts && role && is_expert_matrix(*role)) continue;
    if (tensor.shape.size() < 2 || tensor.format == nullptr) continue;
    const MatrixShape shape = as_matrix(tensor.shape);
    const MatrixTraits traits{*tensor.format, shape.rows, shape.columns};
    if (choose_kernel(linear_kernels(), traits, {wanted}).residency == Residency::decoded)
      decoded += tensor.elements() * sizeof(float);
  }
  return decoded <= available_memory() / 4 ? Residency::automatic : Residency::packed;
}

}  // namespace assay
