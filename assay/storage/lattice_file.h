#pragma once
// One lattice tensor file: the kinds there are, the header they share, and the guards of reading it.
//
//   magic[4]  u32 version  u32 ndim  u64 shape[ndim]  u64 element count  payload      (little-endian, no
//   padding)
//
// The payload of the quantised kinds is a run of blocks over the flattened tensor; that of KHF1 is plain f16.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "assay/base/bytes.h"
#include "assay/formats/format.h"
#include "assay/storage/tensor.h"

namespace assay {

struct LatticeKind {
  std::string_view extension;  // of the file name, with its dot
  std::string_view magic;
  std::uint32_t version;
  std::string_view format;      // name in the format table
  std::string_view same_bytes;  // a format that fits its parameters in another way but stores the same
  bool quantized;               // what quantize_index.json says of it
  bool writable;
};

inline constexpr std::array<LatticeKind, 5> kLatticeKinds = {{
    {".q4", "KHQ4", 2, "khq4", "khq4-sym", true, true},
    {".q4", "KHQ4", 1, "khq4-v1", "", true, false},  // written for eleven days in May 2026
    {".w3", "KHW3", 1, "khw3", "", true, true},
    {".q3", "KHQ3", 1, "khq3", "khq3-sym", true, true},
    {".f16", "KHF1", 1, "khf1", "", false, true},
}};

inline constexpr std::uint64_t kLatticeMaximumRank = 8;

/// The first kind with the extension of this file name, or null. Kinds of one extension differ by version
/// alone.
const LatticeKind* lattice_kind_of_file(std::string_view file_name);

/// The kind that files of this format's name are written as, or null.
const LatticeKind* lattice_kind_of_format(std::string_view format_name);

struct LatticeHeader {
  FormatPtr format;
  Shape shape;
  std::size_t bytes = 0;  // length of the header: where the payload begins
};

/// Parses and checks a whole file against the kind that the extension of `path` promises: magic, version,
/// rank, element count, exact length. Throws Error.
LatticeHeader parse_lattice_file(Bytes file, const std::string& path);

/// Header bytes of a file to be written. The product of the shape must fit 64 bits.
std::string lattice_header(const LatticeKind& kind, const Shape& shape);

}  // namespace assay
