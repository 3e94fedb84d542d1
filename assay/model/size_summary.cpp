#include "assay/model/size_summary.h"

namespace assay {
namespace {

double bits(std::uint64_t bytes, std::uint64_t weights) {
  return weights == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
}

}  // namespace

void SizeSummary::add(std::optional<Role> role, std::uint64_t weights, std::uint64_t bytes) {
  file_weights += weights;
  file_bytes += bytes;
  if (!role || !is_block_matrix(*role)) return;
  linear_weights += weights;
  linear_bytes += bytes;
}

double SizeSummary::linear_bits() const {
  return bits(linear_bytes, linear_weights);
}
double SizeSummary::file_bits() const {
  return bits(file_bytes, file_weights);
}

SizeSummary stored_size(const Checkpoint& checkpoint) {
  SizeSummary size;
  for (const Tensor& tensor : checkpoint.tensors)
    size.add(classify_tensor(tensor.name), tensor.elements(), tensor.stored_bytes());
  return size;
}

}  // namespace assay
