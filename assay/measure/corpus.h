#pragma once
// The text a measurement runs on: a file read as raw bytes, or text sampled from the reference model itself.
#include <cstdint>
#include <string>
#include <vector>

#include "assay/measure/evaluate.h"
#include "assay/runtime/session.h"

namespace assay {

struct CorpusOptions {
  std::string text;            // a path, or "self"
  std::size_t max_tokens = 0;  // cuts after tokenising; 0: the whole text (self: kSelfTextTokens)
  std::uint64_t seed = 1;      // of the self-sampled text
  bool any_text = false;       // take a file that seems to be no text all the same
};
inline constexpr std::size_t kSelfTextTokens = 16384;

struct Corpus {
  std::string label;  // as printed: the path, or what was sampled from which model
  bool self_sampled = false;
  bool partial = false;                // --max-tokens cut a file: figures are labelled partial
  bool bos_added = false;              // the model's configuration demanded it
  std::string text;                    // whole text, raw bytes but for a byte-order mark
  std::string text_sha256;             // of the whole file, or of the sampled text
  std::vector<std::string> notes;      // what was odd about the file
  std::optional<TokenId> chunk_start;  // BOS, where the configuration demands it: what chunks begin with
  std::size_t tokens_in_text = 0;
  std::vector<TokenId> tokens;  // what is measured, BOS included
  std::vector<TokenId> end_tokens;
};

/// Reads and tokenises (or samples) the text with `source`, the reference where there is one. Throws Error
/// for a missing, empty or oversized file, for one that is no text, and for text without tokens.
Corpus load_corpus(const LoadedModel& source, const CorpusOptions& options);

/// Throws Error when `other` would give the text other token ids than `source`: their losses a token are not
/// comparable.
void require_same_tokens(const LoadedModel& source, const LoadedModel& other, const Corpus& corpus);

/// Bytes of the text that the scored tokens stand for, and in words what was counted.
struct ScoredBytes {
  std::uint64_t bytes = 0;
  std::string counted;  // "whole text" or "decoded scored tokens"
};
ScoredBytes scored_bytes(const Corpus& corpus, const Tokenizer& tokenizer, const Evaluation& evaluation,
                         Protocol protocol);

/// One flag a scored token: does it end a document?
std::vector<std::uint8_t> document_ends(const Corpus& corpus, const Evaluation& evaluation);

}  // namespace assay
