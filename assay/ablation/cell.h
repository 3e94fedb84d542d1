#pragma once
// One row of the calibration ablation: a model quantised to one format with one draw of calibration text, and
// what it lost. Rows are JSON lines that stand for themselves: verdicts are computed from them alone.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"

namespace assay {

/// What every cell of one run shares, and what must not change when a run goes on.
struct CellSetting {
  std::string model;  // as given
  /// What the model is (content_identity: weight files and configuration). In rows of schema 1 of the weight
  /// files alone, so those are of another setting than whatever is made today.
  std::string checkpoint_sha256;
  bool rotated = false;  // quantised from the rotated model in float32
  std::size_t tokens_per_batch = 0;
  std::string calibration_sha256, evaluation_sha256;
  std::uint64_t evaluation_tokens = 0;  // scored
  std::uint64_t heldout_tokens = 0;     // of the evaluation text, that the held-out loss was taken on
  double damping = 0;
  int refinements = 0;
  std::string revision;  // of the program

  bool operator==(const CellSetting&) const = default;
};

/// Losses are summed over matrices, each a mean over its outputs and over tokens.
struct Cell {
  CellSetting setting;
  std::string format;
  std::uint64_t seed = 0;     // of the draw of calibration windows
  std::uint64_t batches = 0;  // N; 0 is plain rounding
  std::string order;          // of columns in error feedback
  std::string artifact_sha256;
  double tokens_per_column = 0;  // n/d, the smallest of all matrices
  double largest_damping = 0;    // used for a matrix
  double heldout_loss = 0, heldout_relative = 0, calibration_loss = 0;
  double predicted_gain = 0;  // sum D / tr H, mean over matrices
  double clip_rate = 0;
  double perplexity = 0, original_perplexity = 0;
  double bits_per_byte = 0, original_bits_per_byte = 0;
  double divergence = 0;      // mean KL from the original, nats
  double top1_agreement = 0;  // share
  double milliseconds = 0;    // rounding and evaluation
  std::string time;           // when it was finished, UTC; empty in rows of older versions
  /// The evaluation is that of the same artifact under an earlier seed (plain rounding is the same for all):
  /// its time is in that row alone.
  std::optional<std::uint64_t> evaluated_with_seed;

  OrderedJson to_json() const;
  /// Throws Error naming `origin` and the field.
  static Cell from_json(const Json& json, const std::string& origin);
};

/// Reads JSON lines; rows that are no cells (verdicts) are passed over, a row that is neither is an error.
std::vector<Cell> read_cells(std::string_view lines, const std::string& origin);

/// The cells of one checkpoint, rotated or not, by format. Points into the cells it was made from.
struct CellGroup {
  std::map<std::string, std::vector<const Cell*>> formats;

  const Cell& first() const { return *formats.begin()->second.front(); }
  const CellSetting& setting() const { return first().setting; }
};
std::vector<CellGroup> group_by_checkpoint(const std::vector<Cell>& cells);

}  // namespace assay
