#pragma once
// What is kept of a text so that it can be recognised and not read: winnowed hashes of its runs of tokens
// (Schleimer, Wilkerson and Aiken 2003). Of every 64 consecutive tokens at least one run of 48 is kept,
// chosen by its hash alone: a text that shares 64 tokens in a row with it is found for certain, whatever lies
// around them; one that shares 48 to 63 sometimes; one that shares fewer never.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "assay/tokenizer/tokenizer.h"

namespace assay {

/// Hashes of all runs of `length` consecutive tokens, by where they begin.
std::vector<std::uint64_t> run_hashes(std::span<const TokenId> tokens, std::size_t length);

class TextFingerprint {
 public:
  static constexpr std::size_t kFoundForCertain = 64, kRun = 48;

  /// One passage without a gap. Of fewer than 64 tokens one run is kept, of fewer than 48 none.
  void add(std::span<const TokenId> passage);
  /// At how many places runs of `tokens` are among those kept.
  std::size_t count_shared(std::span<const TokenId> tokens) const;
  bool operator==(const TextFingerprint&) const = default;

  std::string to_base64() const;
  /// Throws Error for what to_base64() does not write.
  static TextFingerprint from_base64(const std::string& text, const std::string& origin);

 private:
  std::vector<std::uint64_t> hashes_;  // each once, ascending
};

}  // namespace assay
