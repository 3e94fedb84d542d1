#pragma once
// Names in a lattice directory: how a tensor's name becomes a file name, and quantize_index.json in its three
// forms (bare array; the same with "format"; QuaRot's object): docs/formats.md, "Lattice directories".
// Tensors are found by computed file name; the index supplies the names that file names cannot be turned back
// into, and is cross-checked.
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/base/json.h"
#include "assay/storage/tensor.h"

namespace assay {

inline constexpr std::string_view kLatticeIndexName = "quantize_index.json";
inline constexpr std::size_t kLatticeIndexBytes = std::size_t{16} << 20;  // upstream's own limit

/// File name without extension: every character but ASCII letters, digits and '-' becomes '_'.
std::string lattice_stem(std::string_view tensor_name);

/// Why a tensor of this name cannot be in a lattice directory; nothing when it can. Upstream decides
/// "alphanumeric" by Unicode tables, so names beyond ASCII are refused rather than guessed.
std::optional<std::string> lattice_name_misfit(std::string_view tensor_name);

/// Files that the Metal loader and interrupted writers leave behind: no part of the model.
bool is_lattice_leftover(std::string_view file_name);

struct LatticeIndexEntry {
  std::string name;
  std::string file;
  std::string format;  // "w3", "q4", "q3", "f16": the file's extension; empty in the forms that do not say
  bool quantized = false;
  Shape shape;
};

struct LatticeIndex {
  std::vector<LatticeIndexEntry> tensors;
  std::vector<std::string> warnings;  // rotated weights, a rejected promotion
};

/// Parses the text of quantize_index.json; `origin` (its path) opens every message. Throws Error.
LatticeIndex parse_lattice_index(std::string_view text, const std::string& origin);

/// The text of a bare-array index, sorted by name; "format" is written for entries that have one.
std::string lattice_index_text(std::vector<LatticeIndexEntry> entries);

}  // namespace assay
