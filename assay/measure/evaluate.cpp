#include "assay/measure/evaluate.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <memory>

#include "assay/base/clock.h"
#include "assay/base/error.h"
#include "assay/base/heap.h"
#include "assay/measure/divergence.h"
#include "assay/parallel/threads.h"
#include "assay/runtime/engine.h"

namespace assay {
namespace {

constexpr std::size_t kLogitBytes = std::size_t{64} << 20;  // one model's slice of logits
constexpr std::size_t kCacheBytes = std::size_t{1} << 30;   // keys and values of one batch
constexpr std::size_t kPrefillBatch = 8, kDecodeBatch = 64;

std::size_t choose_batch(std::span<const EvaluatedModel> models, const EvaluateOptions& options) {
  if (options.batch > 0) return options.batch;
  std::size_t batch = options.mode == EvaluationMode::prefill ? kPrefillBatch : kDecodeBatch;
  for (const EvaluatedModel& entry : models) {
    const ModelConfig& config = entry.model->config();
    const std::size_t window = sizeof(float) * (config.cache_floats_per_token() * options.windows.window +
                                                2 * config.carry_floats());
    batch = std::min(batch, std::max<std::size_t>(1, kCacheBytes / std::max<std::size_t>(1, window)));
  }
  return batch;
}

/// Multiply-add flops of the attention products (scores and weighted values) of one window.
double attention_flops(const ModelConfig& config, std::size_t inputs) {
  const double contexts = 0.5 * static_cast<double>(inputs) * static_cast<double>(inputs + 1);
  const auto layers = std::ranges::count(config.blocks, MixerKind::attention, &BlockConfig::mixer);
  return 4.0 * static_cast<double>(layers) * config.heads * config.head_dim * contexts;
}

/// One window of the text: its tokens at once, or one after the other; keeps the hidden rows behind which the
/// next token is scored.
class WindowReader final : public SequenceClient {
 public:
  /// scored: [window.scored(), hidden].
  WindowReader(const Model& model, const Window& window, std::span<const TokenId> tokens,
               const EvaluateOptions& options, std::span<float> scored)
      : ops_(model.ops()),
        width_(static_cast<std::size_t>(model.config().hidden)),
        skipped_(window.first_target - window.begin - 1),
        at_once_(options.mode == EvaluationMode::prefill ? window.inputs() : 1),
        scored_(scored) {
    const auto inputs = tokens.subspan(window.begin, window.inputs());
    inputs_.assign(inputs.begin(), inputs.end());
    if (options.chunk_start) inputs_.front() = *options.chunk_start;
  }

  Feed next() override {
    const auto feed =
        std::span<const TokenId>(inputs_).subspan(fed_, std::min(at_once_, inputs_.size() - fed_));
    first_ = fed_;
    fed_ += feed.size();
    return {feed, false};
  }
  bool wants_hidden() const override { return true; }
  void take_hidden(const Rows& rows, std::size_t first) override {
    const std::size_t begin = first_ + first, end = begin + rows.count();
    if (end <= skipped_) return;
    const std::size_t from = std::max(begin, skipped_);
    ops_.read(rows.range(from - begin, end - from),
              scored_.subspan((from - skipped_) * width_, (end - from) * width_));
  }

 private:
  const Ops& ops_;
  std::size_t width_;
  std::size_t skipped_;  // inputs behind which nothing is scored
  std::size_t at_once_;
  std::span<float> scored_;
  std::vector<TokenId> inputs_;
  std::size_t first_ = 0, fed_ = 0;
};

/// Hidden rows of the scored positions of a batch of windows, in text order.
std::vector<float> scored_rows(const Model& model, std::span<const TokenId> tokens,
                               std::span<const Window> windows, const EvaluateOptions& options,
                               Workspace& workspace) {
  const auto width = static_cast<std::size_t>(model.config().hidden);
  std::size_t rows = 0;
  for (const Window& window : windows) rows += window.scored();
  std::vector<float> scored(rows * width);
  Engine engine(model, workspace, {.piece = std::numeric_limits<std::size_t>::max()});
  std::deque<WindowReader> readers;
  std::size_t first = 0;
  for (const Window& window : windows) {
    const std::span<float> own = std::span(scored).subspan(first * width, window.scored() * width);
    engine.submit(readers.emplace_back(model, window, tokens, options, own));
    first += window.scored();
  }
  engine.run();
  return scored;
}

/// One model on its way through the text.
struct Lane {
  Lane(EvaluatedModel model, ModelLosses& found, MemorySource& memory)
      : entry(std::move(model)), losses(&found), workspace(std::make_unique<Workspace>(memory)) {}

  EvaluatedModel entry;
  ModelLosses* losses;
  std::unique_ptr<Workspace> workspace;
  std::vector<float> scored;                // hidden rows of the current batch
  std::unique_ptr<Workspace::Scope> slice;  // the current one
  std::span<const float> logits;            // of the slice
  std::vector<float> copy;
  std::vector<PositionScore> scores;

  std::span<const float> logit_row(std::size_t row) const {
    const auto vocabulary = static_cast<std::size_t>(entry.model->config().vocabulary);
    return logits.subspan(row * vocabulary, vocabulary);
  }
};

/// Fills logits and scores of rows [first, first + count) of the batch, whose targets are given.
void score_slice(Lane& lane, std::size_t first, std::size_t count, std::span<const std::size_t> targets,
                 std::span<const TokenId> tokens) {
  const Model& model = *lane.entry.model;
  const auto width = static_cast<std::size_t>(model.config().hidden);
  lane.slice = nullptr;  // before the next one begins
  lane.slice = std::make_unique<Workspace::Scope>(*lane.workspace);
  const Rows hidden = lane.workspace->take(model.ops().element(), count, width);
  model.ops().write(std::span<const float>(lane.scored).subspan(first * width, count * width), hidden);
  lane.logits = model.ops().on_host(model.logits(hidden, *lane.workspace), lane.copy);
  lane.scores.resize(count);
  parallel_for(count, [&](std::size_t row) {
    try {
      lane.scores[row] = score_position(lane.logit_row(row), tokens[targets[row]]);
    } catch (const Error& problem) {
      fail("{}: token {} of the text: {}", lane.entry.name, targets[row], problem.what());
    }
  });
  for (const PositionScore& score : lane.scores) lane.losses->nll.push_back(score.nll);
}

void diverge_slice(Lane& lane, const Lane& reference, std::span<const std::size_t> targets,
                   std::span<const TokenId> tokens) {
  Divergence& divergence = *lane.losses->divergence;
  const std::size_t start = divergence.kl.size(), count = targets.size();
  divergence.kl.resize(start + count);
  divergence.delta_p.resize(start + count);
  parallel_for(count, [&](std::size_t row) {
    const PositionDivergence result = diverge_position(reference.logit_row(row), reference.scores[row],
                                                       lane.logit_row(row), lane.scores[row]);
    divergence.kl[start + row] = result.kl;
    divergence.delta_p[start + row] = result.delta_p;
  });
  for (std::size_t row = 0; row < count; ++row) {
    const TokenId target = tokens[targets[row]];
    const TokenId expected = reference.scores[row].top, found = lane.scores[row].top;
    divergence.same_top.push_back(expected == found ? 1 : 0);
    divergence.lost.push_back(expected == target && found != target ? 1 : 0);
    divergence.gained.push_back(expected != target && found == target ? 1 : 0);
  }
}

void check_fit(std::span<const Lane> lanes, std::span<const TokenId> tokens) {
  const auto [low, high] = std::minmax_element(tokens.begin(), tokens.end());
  for (const Lane& lane : lanes) {
    const int vocabulary = lane.entry.model->config().vocabulary;
    if (*low < 0 || *high >= vocabulary)
      fail("{}: token id {} of the text, ids below the vocabulary of {} expected: wrong tokenizer",
           lane.entry.name, *low < 0 ? *low : *high, vocabulary);
    if (vocabulary != lanes.front().entry.model->config().vocabulary)
      fail("{}: vocabulary of {}, {} as in {} expected: different vocabularies compare only in bits per byte",
           lane.entry.name, vocabulary, lanes.front().entry.model->config().vocabulary,
           lanes.front().entry.name);
  }
}

/// All lanes over one batch of windows; the reference, when there is one, is the first lane.
void run_batch(std::vector<Lane>& lanes, bool has_reference, std::span<const Window> windows,
               std::span<const std::size_t> targets, std::span<const TokenId> tokens,
               const EvaluateOptions& options, Progress& progress) {
  for (Lane& lane : lanes) {
    const auto start = Clock::now();
    const Model& model = *lane.entry.model;
    lane.slice = nullptr;
    lane.scored = scored_rows(model, tokens, windows, options, *lane.workspace);
    std::size_t inputs = 0;
    for (const Window& window : windows) {
      inputs += window.inputs();
      lane.losses->flops += attention_flops(model.config(), window.inputs());
    }
    lane.losses->flops += model.linear_flops_per_token() * static_cast<double>(inputs) +
                          model.head_flops_per_token() * static_cast<double>(targets.size());
    lane.losses->seconds += seconds_since(start);
    progress.advance(inputs);
  }
  const auto vocabulary = static_cast<std::size_t>(lanes.front().entry.model->config().vocabulary);
  const std::size_t slice = std::max<std::size_t>(1, kLogitBytes / (sizeof(float) * vocabulary));
  for (std::size_t first = 0; first < targets.size(); first += slice) {
    const std::size_t count = std::min(slice, targets.size() - first);
    for (std::size_t i = 0; i < lanes.size(); ++i) {
      const auto start = Clock::now();
      score_slice(lanes[i], first, count, targets.subspan(first, count), tokens);
      lanes[i].losses->seconds += seconds_since(start);
      if (has_reference && i > 0) diverge_slice(lanes[i], lanes[0], targets.subspan(first, count), tokens);
    }
  }
}

}  // namespace

std::string_view mode_name(EvaluationMode mode) {
  return mode == EvaluationMode::prefill ? "prefill" : "decode";
}

double ModelLosses::perplexity() const {
  return std::exp(nll_mean());
}

Evaluation evaluate(std::span<const EvaluatedModel> models, const std::optional<EvaluatedModel>& reference,
                    std::span<const TokenId> tokens, const EvaluateOptions& options, const Context& context) {
  const ThreadScope threads(context.threads);
  const KeepFreedMemory keep;
  Evaluation evaluation;
  evaluation.windows = list_windows(tokens.size(), options.windows);
  for (const Window& window : evaluation.windows) {
    evaluation.tokens_run += window.inputs();
    for (std::size_t target = window.first_target; target < window.end_target; ++target)
      evaluation.targets.push_back(target);
  }
  std::vector<Lane> lanes;
  if (reference) {
    evaluation.reference.emplace();
    lanes.emplace_back(*reference, *evaluation.reference, context.activations());
  }
  evaluation.models.resize(models.size());
  for (std::size_t i = 0; i < models.size(); ++i) {
    if (reference) evaluation.models[i].divergence.emplace();
    lanes.emplace_back(models[i], evaluation.models[i], context.activations());
  }
  check_fit(lanes, tokens);

  std::vector<EvaluatedModel> entries;
  entries.reserve(lanes.size());
  for (const Lane& lane : lanes) entries.push_back(lane.entry);
  const std::size_t batch = choose_batch(entries, options);
  Progress progress(context.progress, "evaluating", evaluation.tokens_run * lanes.size(), "tokens");
  std::size_t scored = 0;
  for (std::size_t first = 0; first < evaluation.windows.size(); first += batch) {
    const auto windows = std::span<const Window>(evaluation.windows)
                             .subspan(first, std::min(batch, evaluation.windows.size() - first));
    std::size_t targets = 0;
    for (const Window& window : windows) targets += window.scored();
    run_batch(lanes, reference.has_value(), windows,
              std::span<const std::size_t>(evaluation.targets).subspan(scored, targets), tokens, options,
              progress);
    scored += targets;
  }
  for (const Lane& lane : lanes)
    for (const double nll : lane.losses->nll) lane.losses->nll_sum += nll;
  return evaluation;
}

}  // namespace assay
