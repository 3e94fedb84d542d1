#pragma once
// y = W x for packed matrices. Which kernel runs one is decided once, when it is made (table.h), and can be
// asked for. Slow is allowed, silent is not.
#include <cstdint>
#include <memory>
#include <string>

#include "assay/formats/packed_matrix.h"
#include "assay/kernels/rows.h"

namespace assay {

/// How a matrix lies in memory while it multiplies.
enum class Residency {
  automatic,  // packed where a kernel multiplies packed weights, else decoded
  packed,     // the stored bits in the order of such a kernel; stored where there is none
  decoded,    // f32
  stored      // the stored bytes where they are, decoded by tiles at every call
};

/// What a few tokens' activations become before they meet packed weights. Many are f32 always.
enum class Activations {
  f32,
  int16,  // steps of 2^-15 of the largest of 32 neighbours, where a kernel has them: half the work of a core
  int8,   // of 2^-7, for codes of at most 5 bits, else as int16: a third of the work
  automatic  // int8 for codes of at most 4 bits, whose own loss is far above its cost, else int16
};

struct LinearOptions {
  Residency residency = Residency::automatic;
  std::string kernel = {};  // of table.h, by name, whatever the residency; "" = as the table says
  Activations activations = Activations::f32;
};

/// One linear layer without bias: y[M,N] = x[M,K] W[N,K]^T. Rows are those of the backend that made it.
class Linear {
 public:
  virtual ~Linear() = default;
  /// y may not share memory with x.
  virtual void forward(const Rows& x, const Rows& y) const = 0;
  virtual std::uint64_t rows() const = 0;
  virtual std::uint64_t columns() const = 0;
  /// Decodes row i into one row of K (embedding lookup).
  virtual void row(std::uint64_t index, const Rows& out) const = 0;
  virtual std::string kernel() const = 0;  // as printed: "decoded to f32, OpenBLAS (Haswell)"
};

/// In float32, by the kernel that the table and the options lead to. Throws Error: see choose_kernel().
std::shared_ptr<const Linear> make_linear(PackedMatrix matrix, const LinearOptions& options);

}  // namespace assay
