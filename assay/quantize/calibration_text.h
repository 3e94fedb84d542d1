#pragma once
// The text that calibration runs on, as windows of token ids, and the guard that keeps it apart from the text
// a model is measured on.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/runtime/session.h"

namespace assay {

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

  std::size_t tokens() const;
  OrderedJson to_json() const;  // for the manifest, sampled shingles included
};

/// Draws the windows. Throws Error: a missing or empty file, one that is no text, one shorter than one
/// window.
CalibrationText load_calibration_text(const LoadedModel& model, const CalibrationTextOptions& options);

/// Hashes of the 64-token shingles (runs of consecutive tokens) of `tokens` whose hash falls into one of
/// `share` classes: two texts that have a long passage in common share some of them whatever their alignment.
std::vector<std::uint64_t> shingles(std::span<const TokenId> tokens, std::uint64_t share);

/// Throws Error when the text to measure on shares a 64-token run with the calibration windows.
void refuse_overlap(const CalibrationText& calibration, std::span<const TokenId> measured,
                    const std::string& label);

/// The same for a model whose manifest tells what it was calibrated on; nothing happens for one that tells
/// nothing. One shingle in 64 is written down, so a passage of a few hundred tokens is found for certain
/// enough. Throws Error, also for a manifest that is no manifest.
void refuse_overlap(const Checkpoint& checkpoint, std::span<const TokenId> measured,
                    const std::string& label);

}  // namespace assay
