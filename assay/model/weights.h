#pragma once
// The tensors of a checkpoint as a model takes them: each by name and shape, decoded or held by a kernel. At
// the end everything must have been taken: a tensor that nobody asked for means that the config and the file
// disagree.
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "assay/kernels/ops.h"
#include "assay/storage/checkpoint.h"

namespace assay {

/// A matrix of the model as its checkpoint has it: all rows of a tensor, or those from `first_row` on of a
/// stack (experts).
struct MatrixPlace {
  std::string tensor;
  std::uint64_t first_row = 0;
  bool whole = true;
};

/// Makes what multiplies by one matrix of the model: calibration puts its own in the kernels' place.
using LinearFactory =
    std::function<std::shared_ptr<const Linear>(const MatrixPlace& place, PackedMatrix matrix)>;

/// A matrix and, where the architecture has one, its bias.
struct Projection {
  std::shared_ptr<const Linear> weight;
  VectorPtr bias;  // null: none

  double flops_per_token() const {
    return 2.0 * static_cast<double>(weight->rows()) * static_cast<double>(weight->columns());
  }
};

/// outs[i] = projections[i] of x, [tokens, rows] each: projections that share their input.
void project(const Ops& ops, std::initializer_list<const Projection*> projections, const Rows& x,
             std::initializer_list<Rows> outs);

class WeightLoader {
 public:
  /// Matrices become what `factory` makes of them; without one, what the backend makes as `options` ask.
  WeightLoader(CheckpointPtr checkpoint, const Ops& ops, const LinearOptions& options,
               LinearFactory factory = {});

  const Ops& ops() const { return ops_; }

  /// "model." or another legal prefix: what stands before "embed_tokens.weight" in this checkpoint.
  const std::string& prefix() const { return prefix_; }
  bool has(std::string_view name) const { return checkpoint_->find(name) != nullptr; }
  const Shape& shape(std::string_view name) const { return checkpoint_->at(name).shape; }

  /// The tensor `name`, which must have exactly this shape. Throws Error.
  std::vector<float> values(const std::string& name, const Shape& shape);
  VectorPtr vector(const std::string& name, std::uint64_t size);
  /// What an RMS norm multiplies by: the stored vector, or one plus it.
  VectorPtr norm(const std::string& name, std::uint64_t size, bool shifted);
  std::shared_ptr<const Linear> matrix(const std::string& name, std::uint64_t rows, std::uint64_t columns);
  /// One matrix [rows, columns] of the stack `name` [count, rows x parts, columns]: number `index`, and of
  /// its equal parts one (gate and up of a fused expert).
  struct StackSlice {
    std::uint64_t index = 0, count = 1, part = 0, parts = 1;
    std::uint64_t first_row(std::uint64_t rows) const { return (index * parts + part) * rows; }
  };
  std::shared_ptr<const Linear> matrix_of_stack(const std::string& name, const StackSlice& slice,
                                                std::uint64_t rows, std::uint64_t columns);
  /// The same matrices as they are stored, for who reads them later: nothing is decoded.
  Tensor stored_matrix(const std::string& name, std::uint64_t rows, std::uint64_t columns);
  Tensor stored_matrix_of_stack(const std::string& name, const StackSlice& slice, std::uint64_t rows,
                                std::uint64_t columns);
  /// `module`.weight and, if asked for, `module`.bias.
  Projection projection(const std::string& module, std::uint64_t rows, std::uint64_t columns, bool with_bias);
  /// A second copy of a tensor that some checkpoints store beside a tied one: it must hold the same bytes.
  void take_duplicate(const std::string& name, const std::string& original);

  /// Throws Error naming the first tensor that was never taken, parts that a text model may leave out
  /// excepted.
  void finish();
  /// "khq4: decoded to f32, OpenBLAS (42 matrices)", and a line on what was left out.
  std::vector<std::string> report() const;

 private:
  const Tensor& take(const std::string& name, const Shape& shape);
  const Tensor& take_stack(const std::string& name, const StackSlice& slice, std::uint64_t rows,
                           std::uint64_t columns);
  Tensor left_on_disk(const Tensor& tensor, std::uint64_t first_row, std::uint64_t rows);
  /// What multiplies by `rows` rows of a tensor.
  std::shared_ptr<const Linear> build(const MatrixPlace& place, const Tensor& tensor, std::uint64_t rows);

  CheckpointPtr checkpoint_;
  const Ops& ops_;
  LinearOptions options_;
  LinearFactory factory_;
  std::string prefix_;
  std::set<std::string, std::less<>> taken_;
  std::map<std::string, int> kernels_;  // "format: kernel" -> matrices
  std::size_t unused_ = 0;              // vision and multi-token-prediction tensors
};

/// Residency::automatic for a checkpoint: packed where what would be decoded to f32 exceeds a quarter of the
/// memory that is available now. `without_experts`: those stay on disk.
Residency resolve_residency(Residency wanted, const Checkpoint& checkpoint, bool without_experts = false);

}  // namespace assay
