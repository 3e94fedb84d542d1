#pragma once
// A packed matrix as panels (panel.h): the stored codes and parameters in another order, nothing rounded, no
// code decoded.
#include <cstdint>
#include <vector>

#include "assay/base/memory_source.h"
#include "assay/formats/packed_matrix.h"
#include "assay/kernels/cpu/panel.h"
#include "assay/kernels/table.h"

namespace assay::cpu {

class PanelMatrix {
 public:
  /// Codes of at most 8 bits on a line, at most 16 levels, or halves; units that lie within rows, runs of
  /// whole blocks or whole rows; superblocks of 256 weights.
  static bool holds(const MatrixTraits& matrix);
  /// How weights of such a format are held.
  static PanelCode code_of(const Format& format);
  /// Of such a matrix, on all threads. Throws Error for a unit that is not legal.
  explicit PanelMatrix(const PackedMatrix& matrix);

  std::size_t rows() const { return rows_; }
  std::size_t columns() const { return columns_; }
  std::size_t blocks() const { return blocks_; }  // of 32 columns, the last one padded
  std::size_t groups() const { return shape_.groups; }
  PanelCode code() const { return code_; }
  bool has_superblocks() const { return shape_.subscaled; }
  std::size_t panels() const { return panels_; }
  std::size_t panel_bytes() const { return panel_bytes_; }
  PanelView panel(std::size_t index) const {
    PanelView view = shape_;
    view.data = bytes_.data() + index * panel_bytes_;
    return view;
  }

 private:
  class Packer;

  std::size_t rows_, columns_, blocks_, panels_, panel_bytes_ = 0;
  PanelCode code_;
  PanelView shape_{};  // without data
  MemoryBlock bytes_;
};

/// The activation at `column` of a block meets its code times this.
float activation_factor(PanelCode code, std::size_t column);

}  // namespace assay::cpu
