#pragma once
// y = W x for packed matrices. The table of kernels: which one runs a (format, instruction set) pair is
// decided once at load, and can be asked for (`assay inspect`). Slow is allowed, silent is not.
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "assay/formats/packed_matrix.h"

namespace assay {

enum class Residency {
  automatic,  // decoded when the model's f32 matrices fit a quarter of the machine's memory, else packed
  decoded,    // f32 in memory, one BLAS call
  packed      // decoded panel by panel at every call
};

struct LinearOptions {
  Residency residency = Residency::decoded;  // the model resolves `automatic` before building kernels
};

/// One linear layer without bias: y[M,N] = x[M,K] W[N,K]^T.
class Linear {
 public:
  virtual ~Linear() = default;
  virtual void forward(std::span<const float> x, std::size_t tokens, std::span<float> y) const = 0;
  virtual std::uint64_t rows() const = 0;
  virtual std::uint64_t columns() const = 0;
  /// Decodes row i (embedding lookup).
  virtual void row(std::uint64_t index, std::span<float> out) const = 0;
  virtual std::string kernel() const = 0;  // as printed: "decoded to f32, OpenBLAS (Haswell)"
};

/// Builds the kernel that options ask for.
std::unique_ptr<Linear> make_linear(PackedMatrix matrix, const LinearOptions& options);
/// The kernel that make_linear would choose, without building it.
std::string linear_kernel_name(const Format& format, const LinearOptions& options);

}  // namespace assay
