#pragma once
// From the contents of a lattice directory to a checkpoint: names matched with files, every header checked,
// every rule applied. Knows no file system, so that it can be fuzzed whole.
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "assay/base/bytes.h"
#include "assay/storage/checkpoint.h"

namespace assay {

/// A file's bytes and what keeps them alive.
struct LatticeBytes {
  Bytes bytes;
  std::shared_ptr<const void> owner;
};

struct LatticeContents {
  std::string directory;               // opens every message
  std::set<std::string> weight_files;  // names, leftovers left out
  std::optional<std::string> index;    // the text of quantize_index.json
  Sidecars sidecars;                   // config.json among them
  std::function<LatticeBytes(const std::string& path)> open;
};

/// Throws Error for anything missing, stray, malformed or inconsistent.
CheckpointPtr assemble_lattice(const LatticeContents& contents, const OpenOptions& options);

}  // namespace assay
