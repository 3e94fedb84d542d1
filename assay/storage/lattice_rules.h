#pragma once
// What must hold between the config and the files of a lattice directory (docs/formats.md, "Lattice
// directories"): tied heads, and the refusals of lattice's mixed W3/Q4 loader. One set of rules for reading
// and for writing.
#include <string>
#include <string_view>
#include <vector>

#include "assay/base/json.h"
#include "assay/storage/tensor.h"

namespace assay {

/// A tensor and the extension of the file that holds it, ".q4".
struct LatticeMember {
  std::string name;
  Shape shape;
  std::string_view extension;
};

/// The dense-MLP matrices that a W3 directory must hold as .w3, by upstream's exact rule;
/// multi-token-prediction layers, which no loader reads as .w3, are no part of it.
bool is_lattice_w3_name(std::string_view tensor_name);

/// Throws Error for the first rule broken; `directory` opens the message.
void check_lattice_rules(const std::vector<LatticeMember>& members, const Json& config,
                         const std::string& directory);

}  // namespace assay
