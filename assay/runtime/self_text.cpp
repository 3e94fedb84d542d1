#include <algorithm>

#include "assay/base/error.h"
#include "assay/base/progress.h"
#include "assay/runtime/session.h"

namespace assay {

namespace {

constexpr std::size_t kSequences = 32;  // advance in lockstep
// A sequence ends after this many tokens, whatever it was saying; little text is spread over shorter
// sequences.
constexpr std::size_t kLongest = 512, kShortest = 128;

/// One sequence of text in the making.
struct Writer {
  std::unique_ptr<SequenceState> state;
  Sampler sampler;
  TokenId latest;  // token to feed next
  std::vector<TokenId> text;
};

}  // namespace

std::vector<TokenId> sample_self_text(const LoadedModel& loaded, std::size_t tokens, std::uint64_t seed,
                                      std::size_t sequence) {
  const Model& model = *loaded.model;
  const ModelConfig& config = model.config();
  if (config.end_tokens.empty())
    fail("{}: the config names no eos_token_id: text cannot be sampled from the model itself",
         loaded.checkpoint->path);
  // Documents are separated by the end token, so it is also what a document begins behind.
  const TokenId separator = config.end_tokens.front();
  const TokenId start = loaded.tokenizer->adds_bos ? loaded.tokenizer->bos.value_or(separator) : separator;
  const std::size_t length =
      std::min(sequence > 0 ? sequence : std::clamp(tokens / kSequences, kShortest, kLongest),
               static_cast<std::size_t>(config.max_positions));

  Progress progress("sampling text from the model", tokens, "tokens");
  std::vector<TokenId> text;
  Workspace workspace;
  std::vector<float> copy;
  for (std::uint64_t group = 0; text.size() < tokens; ++group) {
    const std::size_t wanted = (tokens - text.size() + length - 1) / length;
    std::vector<Writer> writers;
    for (std::size_t i = 0; i < std::min(kSequences, wanted); ++i) {
      // Each sequence has a seed of its own: its text does not depend on how many are written beside it.
      const std::uint64_t own_seed = (seed << 20) + group * kSequences + i;
      writers.push_back(
          {make_sequence_state(model), Sampler({.temperature = 1, .seed = own_seed}), start, {}});
    }
    // The last token of a sequence is the separator.
    for (std::size_t step = 0; step + 1 < length; ++step) {
      std::vector<Chunk> batch;
      for (Writer& writer : writers) batch.push_back({writer.state.get(), {&writer.latest, 1}});
      const Workspace::Scope scope(workspace);
      const Rows hidden = model.forward(batch, workspace);
      const auto logits = model.ops().on_host(model.logits(hidden, workspace), copy);
      const auto vocabulary = static_cast<std::size_t>(config.vocabulary);
      for (std::size_t i = 0; i < writers.size(); ++i) {
        writers[i].latest = writers[i].sampler.pick(logits.subspan(i * vocabulary, vocabulary));
        writers[i].text.push_back(writers[i].latest);
      }
      progress.advance(writers.size());
    }
    for (const Writer& writer : writers) {
      text.insert(text.end(), writer.text.begin(), writer.text.end());
      text.push_back(separator);
    }
  }
  text.resize(tokens);
  return text;
}

}  // namespace assay
