#pragma once
// y = W x for packed matrices. The table of kernels: which one runs a (format, instruction set) pair is
// decided once at load, and can be asked for (`assay inspect`). Slow is allowed, silent is not.
#include <cstdint>
#include <memory>
#include <string>

#include "assay/formats/packed_matrix.h"
#include "assay/kernels/rows.h"

namespace assay {

enum class Residency {
  automatic,  // decoded when the model's f32 matrices fit a quarter of the machine's memory, else packed
  decoded,    // f32 in memory, one BLAS call
  packed      // decoded panel by panel at every call
};

struct LinearOptions {
  Residency residency = Residency::decoded;  // the model resolves `automatic` before building kernels
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

/// Builds the float32 kernel that options ask for.
std::unique_ptr<Linear> make_linear(PackedMatrix matrix, const LinearOptions& options);
/// The kernel that make_linear would choose, without building it.
std::string linear_kernel_name(const Format& format, const LinearOptions& options);

}  // namespace assay
