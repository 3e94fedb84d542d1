#pragma once
// Signed integers with one positive scale a row: w = q * scale, q in -Q..Q, Q = 2^(bits-1) - 1
// (openai/parameter-golf). The scale is clip / Q, where clip is the row's largest magnitude, or k standard
// deviations (SDClip). Planes: weight, either packed U8 (unsigned code q + Q + 1, LSB first, ceil(K * bits /
// 8) bytes a row) or I8 cells; scales F16 or F32. 8 bits always use I8 cells.
//
// int8-golf is that repository's baseline export, for reproducing it and nothing else: the clip is the
// .9999984 quantile of the row's magnitudes, the scale no smaller than 1/127 (so that rows below 1 all have
// steps of 1/127), and codes are chosen under the scale as it was before storage. The baseline does so for
// matrices of more than 65,536 elements and keeps smaller ones in f16: that is a recipe's business.
#include "assay/formats/format.h"

namespace assay {

enum class ClipRule { absmax, standard_deviations, golf };

struct IntRowOptions {
  int bits = 8;  // 3..8
  ClipRule clip = ClipRule::absmax;
  bool cells = false;        // I8 cells instead of packed bits
  DType scale = DType::F16;  // or F32
};

/// SDClip's k: 20, 14.5 and 12.85 are the published ones for 8, 7 and 6 bits; below, where nothing is
/// published, the clip of least mean squared error on N(0,1): 2.90, 2.47 and 1.95 for 5, 4 and 3 bits.
double default_deviations(int bits);

FormatPtr int_row_format(const IntRowOptions& options);

/// The parity format above.
FormatPtr int8_golf_format();

/// All of them but that one: "int6-row", "int6-row-i8", "int6-row-f32", "int6-row-i8-f32", "int6-row-sdclip",
/// ...
std::vector<FormatPtr> int_row_formats();

}  // namespace assay
