#pragma once
// What was measured: the facts about a model that every printed number must name.
#include <cstdint>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/runtime/session.h"

namespace assay {

struct FileFact {
  std::string name;
  std::uint64_t bytes = 0;
  std::string sha256;
};

/// Relative RMS error of one tensor's weights against the source's, as the manifest has it.
struct TensorError {
  std::string tensor;
  double relative_rms = 0;
};

struct ModelFacts {
  std::string path, name;  // name: last component of the path
  std::string container;
  std::string recipe;                 // from the manifest; "" where there is none
  std::string formats;                // of the matrices in the blocks: "khq4 x 28, f16 x 2"
  double linear_bits_per_weight = 0;  // matrices inside the blocks
  double file_bits_per_weight = 0;    // every tensor, a tied head counted in full
  std::uint64_t bytes = 0;            // stored bytes of all tensors
  std::vector<FileFact> files;
  std::vector<std::string> kernels;
  std::vector<TensorError> tensor_errors;  // in block order; empty without a manifest
};

/// The weight files, hashed: read whole, once a process as long as they stay as they are.
std::vector<FileFact> hash_weight_files(const Checkpoint& checkpoint, ProgressSink* progress = nullptr);

/// Hashes the weight files.
ModelFacts describe_model(const LoadedModel& loaded);

OrderedJson to_json(const ModelFacts& facts);

}  // namespace assay
