#include "assay/measure/corpus.h"

#include <fmt/core.h>

#include <algorithm>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/tokenizer/text_file.h"

namespace assay {
namespace {

Bytes as_bytes(const std::string& text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

/// The files that decide how text becomes ids: equal bytes need no comparison of their output.
bool same_tokenizer_files(const Checkpoint& a, const Checkpoint& b) {
  bool found = false;
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "tokenizer_config.json"}) {
    const auto in_a = a.sidecars.find(name), in_b = b.sidecars.find(name);
    const bool has_a = in_a != a.sidecars.end(), has_b = in_b != b.sidecars.end();
    if (has_a != has_b || (has_a && in_a->second != in_b->second)) return false;
    found = found || has_a;
  }
  return found;
}

void sample_corpus(const LoadedModel& source, const CorpusOptions& options, Corpus& corpus) {
  const std::size_t count = options.max_tokens > 0 ? options.max_tokens : kSelfTextTokens;
  corpus.self_sampled = true;
  corpus.tokens = sample_self_text(source, count, options.seed);
  corpus.text = source.tokenizer->decode(corpus.tokens);
  corpus.text_sha256 = sha256_hex(as_bytes(corpus.text));
  corpus.tokens_in_text = corpus.tokens.size();
  corpus.label = fmt::format("self-sampled text ({} tokens from {}, seed {})", corpus.tokens.size(),
                             source.checkpoint->path, options.seed);
}

void read_corpus(const LoadedModel& source, const CorpusOptions& options, Corpus& corpus) {
  corpus.label = options.text;
  TextFile file = read_text_file(options.text, options.any_text);
  corpus.text = std::move(file.text);
  corpus.text_sha256 = std::move(file.sha256);
  corpus.notes = std::move(file.notes);
  corpus.tokens = source.tokenizer->encode(corpus.text);
  if (corpus.tokens.empty()) fail("{}: the text has no tokens", options.text);
  corpus.tokens_in_text = corpus.tokens.size();
  if (options.max_tokens > 0 && options.max_tokens < corpus.tokens.size()) {
    corpus.tokens.resize(options.max_tokens);
    corpus.partial = true;
  }
  if (source.tokenizer->adds_bos) {
    if (!source.tokenizer->bos)
      fail("{}: the configuration demands a beginning-of-text token but names none", source.checkpoint->path);
    corpus.tokens.insert(corpus.tokens.begin(), *source.tokenizer->bos);
    corpus.bos_added = true;
  }
}

}  // namespace

Corpus load_corpus(const LoadedModel& source, const CorpusOptions& options) {
  Corpus corpus;
  if (options.text == "self")
    sample_corpus(source, options, corpus);
  else
    read_corpus(source, options, corpus);
  if (source.tokenizer->adds_bos) corpus.chunk_start = source.tokenizer->bos;
  corpus.end_tokens = source.model->config().end_tokens;
  return corpus;
}

void require_same_tokens(const LoadedModel& source, const LoadedModel& other, const Corpus& corpus) {
  if (same_tokenizer_files(*source.checkpoint, *other.checkpoint)) return;
  if (source.tokenizer->encode(corpus.text) != other.tokenizer->encode(corpus.text) ||
      source.tokenizer->adds_bos != other.tokenizer->adds_bos)
    fail(
        "{}: its tokenizer gives the text other ids than {}'s: compare them in bits per byte, with one eval "
        "each",
        other.checkpoint->path, source.checkpoint->path);
}

ScoredBytes scored_bytes(const Corpus& corpus, const Tokenizer& tokenizer, const Evaluation& evaluation,
                         Protocol protocol) {
  if (!corpus.partial && protocol == Protocol::sliding) return {corpus.text.size(), "whole text"};
  // Decoded behind the token before: some tokenizers drop the space that a text begins with, and only there.
  ScoredBytes result{0, "decoded scored tokens"};
  const std::span<const TokenId> tokens(corpus.tokens);
  for (const Window& window : evaluation.windows) {
    const std::size_t text_begins = corpus.bos_added ? 1 : 0;
    const std::size_t before = window.first_target > text_begins ? 1 : 0;
    const auto context = tokens.subspan(window.first_target - before, before);
    const auto whole = tokens.subspan(window.first_target - before, before + window.scored());
    result.bytes += tokenizer.decode(whole).size() - tokenizer.decode(context).size();
  }
  return result;
}

std::vector<std::uint8_t> document_ends(const Corpus& corpus, const Evaluation& evaluation) {
  std::vector<std::uint8_t> ends;
  ends.reserve(evaluation.targets.size());
  for (const std::size_t target : evaluation.targets) {
    const TokenId id = corpus.tokens[target];
    ends.push_back(
        std::find(corpus.end_tokens.begin(), corpus.end_tokens.end(), id) != corpus.end_tokens.end() ? 1 : 0);
  }
  return ends;
}

}  // namespace assay
