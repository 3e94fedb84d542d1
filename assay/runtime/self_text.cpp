#include <algorithm>
#include <deque>

#include "assay/base/error.h"
#include "assay/runtime/engine.h"
#include "assay/runtime/session.h"

namespace assay {

namespace {

constexpr std::size_t kSequences = 32;  // advance in lockstep
// A sequence ends after this many tokens, whatever it was saying; little text is spread over shorter
// sequences.
constexpr std::size_t kLongest = 512, kShortest = 128;

/// One sequence of text in the making. Its seed is its own: its text does not depend on how many are written
/// beside it.
class Writer final : public SequenceClient {
 public:
  Writer(TokenId start, std::size_t length, std::uint64_t seed, Progress& progress)
      : latest_(start), length_(length), sampler_({.temperature = 1, .seed = seed}), progress_(progress) {}

  Feed next() override {
    if (text_.size() == length_) return {};
    return {{&latest_, 1}, true};
  }
  void take_logits(std::span<const float> logits) override {
    latest_ = sampler_.pick(logits).id;
    text_.push_back(latest_);
    progress_.advance(1);
  }
  const std::vector<TokenId>& text() const { return text_; }

 private:
  TokenId latest_;  // to feed next
  std::size_t length_;
  Sampler sampler_;
  Progress& progress_;
  std::vector<TokenId> text_;
};

}  // namespace

std::vector<TokenId> sample_self_text(const LoadedModel& loaded, std::size_t tokens, std::uint64_t seed,
                                      std::size_t sequence) {
  const ThreadScope threads(loaded.context.threads);
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

  Progress progress(loaded.context.progress, "sampling text from the model", tokens, "tokens");
  std::vector<TokenId> text;
  Workspace workspace(loaded.context.activations());
  for (std::uint64_t group = 0; text.size() < tokens; ++group) {
    const std::size_t wanted = (tokens - text.size() + length - 1) / length;
    std::deque<Writer> writers;
    Engine engine(model, workspace);
    for (std::size_t i = 0; i < std::min(kSequences, wanted); ++i)  // the last token is the separator
      engine.submit(writers.emplace_back(start, length - 1, (seed << 20) + group * kSequences + i, progress));
    engine.run();
    for (const Writer& writer : writers) {
      text.insert(text.end(), writer.text().begin(), writer.text().end());
      text.push_back(separator);
    }
  }
  text.resize(tokens);
  return text;
}

}  // namespace assay
