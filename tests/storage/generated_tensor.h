#pragma once
// Tensors made for tests: seeded values, encoded by a format's own rule, with what they decode to.
#include <random>
#include <string>
#include <vector>

#include "assay/base/half.h"
#include "assay/formats/format.h"
#include "assay/storage/tensor.h"

namespace assay::test {

struct EncodedTensor {
  Shape shape;
  FormatPtr format;
  std::vector<std::string> planes;
  std::vector<float> decoded;
};

/// Normal weights of the shape, encoded by reference() and pack(). The format must be able to encode.
inline EncodedTensor encode_tensor(const FormatPtr& format, const Shape& shape, unsigned seed) {
  const MatrixShape matrix = as_matrix(shape);
  const Layout layout = format->layout(matrix.columns);
  const std::size_t units = unit_count(layout, matrix.rows, matrix.columns);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> weights(matrix.rows * matrix.columns);
  for (float& weight : weights) weight = through_bf16(normal(random));

  EncodedTensor encoded{
      .shape = shape, .format = format, .planes = {}, .decoded = std::vector<float>(weights.size())};
  std::vector<Params> params(layout.has_params ? units : 0);
  std::vector<Code> codes(units * layout.run);
  std::vector<MutableBytes> planes;
  for (const Plane& plane : layout.planes) encoded.planes.emplace_back(layout.bytes(plane, units), '\0');
  for (std::string& plane : encoded.planes) planes.push_back(std::as_writable_bytes(std::span(plane)));
  if (weights.empty()) return encoded;
  format->reference(weights, params, codes);
  format->pack(params, codes, planes);
  format->decode(params, codes, encoded.decoded);
  return encoded;
}

}  // namespace assay::test
