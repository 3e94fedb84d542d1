#pragma once
// The text that calibration runs on, as windows of token ids.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/recipes/text_record.h"
#include "assay/runtime/session.h"

namespace assay {

/// Added to the seed of self-sampled text that something is made on: what is measured on by default is other.
inline constexpr std::uint64_t kSelfSeedOffset = 0x5eedca11b0000;

struct CalibrationTextOptions {
  std::string text;            // a path, or "self": sampled from the model
  std::size_t tokens = 32768;  // in all; rounded up to whole windows
  std::size_t window = 512;    // tokens of a sequence
  std::uint64_t seed = 1;      // which windows are drawn; more tokens of one seed continue fewer of them
  bool any_text = false;       // take a file that seems to be no text all the same
};

struct CalibrationText {
  CalibrationTextOptions options;
  std::string text_sha256;                    // of the whole file, or of the sampled text
  std::vector<std::string> text_notes;        // what was odd about the file
  std::vector<std::vector<TokenId>> windows;  // BOS included where the model demands it
  std::string tokenizer;                      // tokenizer_identity()
  bool begins_with_bos = false;               // every window

  std::size_t tokens() const;
  OrderedJson to_json() const;  // for the manifest's "calibration"
  TextRecord record(const std::string& purpose) const;
  /// A window without its BOS: what is looked for in other texts.
  std::span<const TokenId> text_in(std::span<const TokenId> window) const;
};

/// Draws the windows. Throws Error: a missing or empty file, one that is no text, one shorter than one
/// window.
CalibrationText load_calibration_text(const LoadedModel& model, const CalibrationTextOptions& options);

/// Throws Error when the text to measure on shares a 64-token run with the calibration windows.
void refuse_overlap(const CalibrationText& calibration, std::span<const TokenId> measured,
                    const std::string& label);

}  // namespace assay
