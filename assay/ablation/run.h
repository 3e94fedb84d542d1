#pragma once
// The calibration ablation: one frozen model, formats x N batches of calibration text x seeds that draw them,
// all measured on the same held-out tokens. Inputs of a layer come from the model as it is, so that one pass
// over a draw serves every format and every N.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "assay/ablation/cell.h"
#include "assay/measure/corpus.h"
#include "assay/rounding/calibrated_rounding.h"

namespace assay {

struct AblationOptions {
  std::vector<std::string> formats;  // for every matrix inside the blocks; the rest stays as it is
  std::vector<std::uint64_t> batches = {0, 16, 32};
  std::vector<std::uint64_t> seeds = {47, 89, 144, 1, 2, 3, 5, 8};
  std::size_t tokens_per_batch = 2048;  // a multiple of window
  std::size_t window = 512;
  std::size_t heldout_tokens = 8192;  // of the measured text, for the held-out loss
  bool any_text = false;              // take files that seem to be no text all the same
  std::string calibration;            // a text file
  CalibratedRoundingOptions rounding;
  EvaluateOptions evaluate;
};

/// SHA-256 over the names and stored planes of the matrices inside the blocks: the same for the same codes,
/// whichever command and container they come from.
class ArtifactHash {
 public:
  void add(const std::string& tensor, const std::vector<std::vector<std::byte>>& planes);
  std::string hex() const;

 private:
  std::map<std::string, std::string> hashes_;
};
std::string artifact_hash(const Checkpoint& checkpoint);

/// Makes the cells that `path` (JSON lines) lacks and rewrites it after every seed; a killed run goes on
/// where it was. Returns all cells. `rotated` says that the model is a rotated one. Throws Error: a file made
/// with another setting, calibration text that overlaps the corpus, a format that does not fit. Memory: all
/// matrices in f32 once for each format and N.
std::vector<Cell> run_ablation(const LoadedModel& model, bool rotated, const Corpus& corpus,
                               const AblationOptions& options, const std::string& path);

}  // namespace assay
