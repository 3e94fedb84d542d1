#include "assay/measure/evaluate.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "assay/base/clock.h"
#include "assay/base/error.h"
#include "assay/base/heap.h"
#include "assay/base/progress.h"
#include "assay/measure/divergence.h"
#include "assay/parallel/threads.h"
#include "assay/runtime/session.h"

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

/// Hidden rows of the scored positions of a batch of windows, in text order.
class BatchRunner {
 public:
  BatchRunner(const Model& model, std::span<const TokenId> tokens, std::span<const Window> windows,
              std::optional<TokenId> chunk_start, Workspace& workspace)
      : model_(model),
        workspace_(workspace),
        windows_(windows),
        width_(static_cast<std::size_t>(model.config().hidden)) {
    std::size_t rows = 0;
    for (const Window& window : windows) {
      first_row_.push_back(rows);
      rows += window.scored();
      const auto inputs = tokens.subspan(window.begin, window.inputs());
      inputs_.emplace_back(inputs.begin(), inputs.end());
      if (chunk_start) inputs_.back().front() = *chunk_start;
    }
    scored_.resize(rows * width_);
    for (std::size_t i = 0; i < windows.size(); ++i) states_.push_back(make_sequence_state(model));
  }

  std::vector<float> prefill() {
    std::vector<Chunk> chunks;
    for (std::size_t i = 0; i < windows_.size(); ++i) chunks.push_back({states_[i].get(), inputs_[i]});
    const Workspace::Scope scope(workspace_);
    const auto hidden = run(chunks);
    std::size_t offset = 0;
    for (std::size_t i = 0; i < windows_.size(); ++i) {
      for (std::size_t step = 0; step < windows_[i].inputs(); ++step) keep(i, step, hidden, offset + step);
      offset += windows_[i].inputs();
    }
    return std::move(scored_);
  }

  std::vector<float> decode() {
    std::size_t steps = 0;
    for (const Window& window : windows_) steps = std::max(steps, window.inputs());
    for (std::size_t step = 0; step < steps; ++step) {
      std::vector<Chunk> chunks;
      std::vector<std::size_t> active;
      for (std::size_t i = 0; i < windows_.size(); ++i) {
        if (step >= windows_[i].inputs()) continue;
        chunks.push_back({states_[i].get(), {&inputs_[i][step], 1}});
        active.push_back(i);
      }
      const Workspace::Scope scope(workspace_);
      const auto hidden = run(chunks);
      for (std::size_t row = 0; row < active.size(); ++row) keep(active[row], step, hidden, row);
    }
    return std::move(scored_);
  }

 private:
  std::span<const float> run(std::span<const Chunk> chunks) {
    return model_.ops().on_host(model_.forward(chunks, workspace_), copy_);
  }
  /// Keeps hidden row `row`, the output behind input `step` of a window, when the next token is scored.
  void keep(std::size_t index, std::size_t step, std::span<const float> hidden, std::size_t row) {
    const Window& window = windows_[index];
    const std::size_t target = window.begin + step + 1;
    if (target < window.first_target) return;
    const std::size_t to = first_row_[index] + (target - window.first_target);
    std::copy_n(hidden.begin() + static_cast<std::ptrdiff_t>(row * width_), width_,
                scored_.begin() + static_cast<std::ptrdiff_t>(to * width_));
  }

  const Model& model_;
  Workspace& workspace_;
  std::span<const Window> windows_;
  std::vector<std::vector<TokenId>> inputs_;
  std::size_t width_;
  std::vector<std::size_t> first_row_;
  std::vector<std::unique_ptr<SequenceState>> states_;
  std::vector<float> copy_, scored_;
};

/// One model on its way through the text.
struct Lane {
  Lane(EvaluatedModel model, ModelLosses& found) : entry(std::move(model)), losses(&found) {}

  EvaluatedModel entry;
  ModelLosses* losses;
  std::unique_ptr<Workspace> workspace = std::make_unique<Workspace>();
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
    BatchRunner runner(model, tokens, windows, options.chunk_start, *lane.workspace);
    lane.scored = options.mode == EvaluationMode::prefill ? runner.prefill() : runner.decode();
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
                    std::span<const TokenId> tokens, const EvaluateOptions& options) {
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
    lanes.emplace_back(*reference, *evaluation.reference);
  }
  evaluation.models.resize(models.size());
  for (std::size_t i = 0; i < models.size(); ++i) {
    if (reference) evaluation.models[i].divergence.emplace();
    lanes.emplace_back(models[i], evaluation.models[i]);
  }
  check_fit(lanes, tokens);

  std::vector<EvaluatedModel> entries;
  entries.reserve(lanes.size());
  for (const Lane& lane : lanes) entries.push_back(lane.entry);
  const std::size_t batch = choose_batch(entries, options);
  Progress progress("evaluating", evaluation.tokens_run * lanes.size(), "tokens");
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
