#include "assay/rounding/rounded_plainly.h"

#include <memory>
#include <vector>

#include "assay/base/error.h"
#include "assay/base/scratch_file.h"
#include "assay/parallel/threads.h"
#include "assay/storage/tensor_blocks.h"

namespace assay {
namespace {

/// Rounds and packs the rows of one block.
void round_block(const PackedMatrix& matrix, const Format& format, const RowBlock& block,
                 UnitBuffer& buffer) {
  std::vector<float> weights(block.rows * matrix.columns());
  matrix.decode(block.first_row, block.rows, weights);
  try {
    format.reference(weights, buffer.params, buffer.codes);
  } catch (const Error& problem) {
    fail("{}: tensor {}: {}", matrix.origin().file, matrix.origin().tensor, problem.what());
  }
  format.pack(buffer.params, buffer.codes, buffer.plane_views());
}

}  // namespace

PackedMatrix as_rounded_plainly(const PackedMatrix& matrix, const FormatPtr& format,
                                const std::string& scratch_folder) {
  const MatrixShape shape{matrix.rows(), matrix.columns()};
  const Layout layout = format->layout(shape.columns);
  const std::uint64_t units = unit_count(layout, shape.rows, shape.columns);
  std::vector<std::uint64_t> begins;
  std::uint64_t size = 0;
  for (const Plane& plane : layout.planes) {
    begins.push_back(size);
    size += layout.bytes(plane, units);
  }
  const auto file = std::make_shared<const ScratchFile>(scratch_folder, size);
  const auto blocks = row_blocks(*format, shape);
  parallel_for(blocks.size(), [&](std::size_t b) {
    UnitBuffer buffer(layout, blocks[b].units);
    round_block(matrix, *format, blocks[b], buffer);
    for (std::size_t p = 0; p < begins.size(); ++p)
      file->write_at(begins[p] + layout.bytes(layout.planes[p], blocks[b].first_unit), buffer.planes[p]);
  });
  PackedPart part{shape.rows, {}, matrix.origin()};
  for (std::size_t p = 0; p < begins.size(); ++p)
    part.planes.push_back(file->bytes().subspan(begins[p], layout.bytes(layout.planes[p], units)));
  return {format, shape.columns, {std::move(part)}, {file}};
}

}  // namespace assay
