#pragma once
// One tensor of a checkpoint: logical name and shape, its format, and its planes where they lie in a mapped
// file.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "assay/formats/packed_matrix.h"

namespace assay {

using Shape = std::vector<std::uint64_t>;

/// A tensor as a matrix: the last axis is K, all others are rows. A vector is one row; a scalar is 1 x 1.
struct MatrixShape {
  std::uint64_t rows = 1, columns = 1;
};
MatrixShape as_matrix(const Shape& shape);
std::string shape_text(const Shape& shape);  // "[512, 1536]"

struct Tensor {
  std::string name;           // Hugging Face name: "model.layers.0.mlp.gate_proj.weight"
  Shape shape;                // logical
  FormatPtr format;           // null for a stored dtype that is no weight format (I64 buffers, ...)
  DType dtype = DType::F32;   // of the first plane as stored
  std::vector<Bytes> planes;  // any alignment; views into `file`
  StoredLayout stored;        // how the planes lie there
  /// In place of planes: tensors of the same format whose rows follow one another (experts stacked on
  /// reading), each of whole units in logical order.
  std::vector<Tensor> parts;
  std::optional<std::uint64_t> checksum;  // base/checksum.h of all planes in order, where one is known
  /// Beside it, of a stack whose matrices are read one by one: of equal runs of rows each. Empty: not known.
  std::vector<std::uint64_t> slice_checksums;
  std::string file;                                 // path, for messages
  std::vector<std::shared_ptr<const void>> owners;  // keep the views alive

  std::uint64_t elements() const;
  std::uint64_t stored_bytes() const;  // of all planes
};

/// base/checksum.h of all planes in order, those of parts one after the other.
std::uint64_t checksum_of(const Tensor& tensor);
/// The same of each of `count` equal runs of rows; none where runs share blocks or lie in parts.
std::vector<std::uint64_t> slice_checksums_of(const Tensor& tensor, std::uint64_t count);
/// Throws Error when the tensor has a checksum and its bytes another.
void require_checksum(const Tensor& tensor);

/// Rows [first, first + rows) as a tensor [rows, K] called `name`: views of the same bytes, with their
/// checksum where it is known. Throws Error when rows of it share blocks with others.
Tensor row_slice(const Tensor& tensor, std::uint64_t first, std::uint64_t rows, std::string name);

/// The tensor as kernels take it: views of the same bytes. Throws Error for a stored dtype that is no weight
/// format.
PackedMatrix packed_matrix(const Tensor& tensor);

/// Is the tensor stored exactly as the records of its format's planes, so that its bytes may be cut and
/// copied?
bool is_plainly_stored(const Tensor& tensor);
/// Do the groups of it, or of one of its parts, hold columns that do not lie together? Such codes mean
/// nothing without their permutation, which no container that is written can say.
bool has_permuted_columns(const Tensor& tensor);

/// Decodes `rows` logical rows from `first` on into out (rows * K floats). Every unit's parameters and codes
/// are checked; a bad one is an Error with path, tensor, unit index, found and expected.
void decode_rows(const Tensor& tensor, std::uint64_t first, std::uint64_t rows, std::span<float> out);

/// All of it. For tensors known to be small (norms, biases).
std::vector<float> decode_all(const Tensor& tensor);

}  // namespace assay
