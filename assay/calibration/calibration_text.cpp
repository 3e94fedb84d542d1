#include "assay/calibration/calibration_text.h"

#include <algorithm>
#include <unordered_set>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/split_mix.h"
#include "assay/tokenizer/text_file.h"

namespace assay {
namespace {

/// The start of the line behind `offset`, so that a window begins like a document would.
std::size_t next_line(std::string_view text, std::size_t offset) {
  if (offset == 0) return 0;
  const std::size_t end = text.find('\n', offset);
  return end == std::string_view::npos ? text.size() : end + 1;
}

/// `offset`, or where the character that it cuts ends: for text without lines.
std::size_t next_character(std::string_view text, std::size_t offset) {
  while (offset < text.size() && (static_cast<unsigned char>(text[offset]) & 0xc0) == 0x80) ++offset;
  return offset;
}

std::vector<TokenId> draw_window(const LoadedModel& model, std::string_view text, std::size_t wanted,
                                 std::uint64_t draw) {
  constexpr int kTries = 64;  // a draw near the end of the text is too short
  for (int attempt = 0; attempt < 2 * kTries; ++attempt) {
    const std::size_t offset = split_mix(draw ^ split_mix(static_cast<std::uint64_t>(attempt))) % text.size();
    const std::size_t start = attempt < kTries ? next_line(text, offset) : next_character(text, offset);
    for (std::size_t bytes = wanted * 8;; bytes *= 2) {
      // The last token of a cut text may be a part of a longer one: it is dropped with the rest.
      const std::string_view part = text.substr(start, bytes);
      std::vector<TokenId> ids = model.tokenizer->encode(part);
      const bool whole = part.size() < bytes;
      if (ids.size() > wanted || (whole && ids.size() == wanted)) {
        ids.resize(wanted);
        return ids;
      }
      if (whole) break;
    }
  }
  return {};
}

/// The token that every window starts with, where the model demands one.
std::optional<TokenId> window_start(const LoadedModel& model) {
  return model.tokenizer->adds_bos ? model.tokenizer->bos : std::nullopt;
}

void draw_windows(const LoadedModel& model, CalibrationText& calibration) {
  const CalibrationTextOptions& options = calibration.options;
  const TextFile file = read_text_file(options.text, options.any_text);
  const std::string& text = file.text;
  calibration.text_sha256 = file.sha256;
  calibration.text_notes = file.notes;
  const auto bos = window_start(model);
  for (std::size_t i = 0; i * options.window < options.tokens; ++i) {
    std::vector<TokenId> window =
        draw_window(model, text, options.window - (bos ? 1 : 0), split_mix(options.seed) ^ i);
    if (window.empty())
      fail("{}: found no run of {} tokens to calibrate on; give a longer text", options.text, options.window);
    if (bos) window.insert(window.begin(), *bos);
    calibration.windows.push_back(std::move(window));
  }
}

void sample_windows(const LoadedModel& model, CalibrationText& calibration) {
  const CalibrationTextOptions& options = calibration.options;
  const std::size_t count = (options.tokens + options.window - 1) / options.window;
  const auto bos = window_start(model);
  const std::size_t sampled = options.window - (bos ? 1 : 0);
  const std::vector<TokenId> ids =
      sample_self_text(model, count * sampled, options.seed + kSelfSeedOffset, options.window);
  const std::string text = model.tokenizer->decode(ids);
  calibration.text_sha256 = sha256_hex(std::as_bytes(std::span<const char>(text.data(), text.size())));
  for (std::size_t i = 0; i < count; ++i) {
    const auto first = ids.begin() + static_cast<std::ptrdiff_t>(i * sampled);
    auto& window = calibration.windows.emplace_back(first, first + static_cast<std::ptrdiff_t>(sampled));
    if (bos) window.insert(window.begin(), *bos);
  }
}

}  // namespace

std::size_t CalibrationText::tokens() const {
  std::size_t total = 0;
  for (const auto& window : windows) total += window.size();
  return total;
}

OrderedJson CalibrationText::to_json() const {
  return {{"text", options.text}, {"text_sha256", text_sha256}, {"text_notes", text_notes},
          {"tokens", tokens()},   {"window", options.window},   {"seed", options.seed}};
}

TextRecord CalibrationText::record(const std::string& purpose) const {
  TextRecord record{purpose, options.text, text_sha256, tokens(), tokenizer, {}, {}};
  for (const auto& window : windows) record.fingerprint.add(text_in(window));
  return record;
}

std::span<const TokenId> CalibrationText::text_in(std::span<const TokenId> window) const {
  return begins_with_bos ? window.subspan(std::min<std::size_t>(1, window.size())) : window;
}

CalibrationText load_calibration_text(const LoadedModel& model, const CalibrationTextOptions& options) {
  CalibrationText calibration;
  calibration.options = options;
  if (options.tokens == 0) return calibration;
  if (options.window < 2 || options.window > static_cast<std::size_t>(model.model->config().max_positions))
    fail("calibration windows of {} tokens: 2 to {} expected", options.window,
         model.model->config().max_positions);
  calibration.tokenizer = tokenizer_identity(*model.tokenizer);
  calibration.begins_with_bos = window_start(model).has_value();
  if (options.text == "self")
    sample_windows(model, calibration);
  else
    draw_windows(model, calibration);
  return calibration;
}

void refuse_overlap(const CalibrationText& calibration, std::span<const TokenId> measured,
                    const std::string& label) {
  constexpr std::size_t kRun = TextFingerprint::kFoundForCertain;
  std::unordered_set<std::uint64_t> seen;
  for (const auto& window : calibration.windows)
    for (const std::uint64_t run : run_hashes(calibration.text_in(window), kRun)) seen.insert(run);
  std::size_t shared = 0;
  for (const std::uint64_t run : run_hashes(measured, kRun)) shared += seen.contains(run);
  if (shared > 0)
    fail(
        "{}: {} runs of {} tokens also occur in the calibration text {}: a model must not be measured on "
        "what it was calibrated on",
        label, shared, kRun, calibration.options.text);
}

}  // namespace assay
