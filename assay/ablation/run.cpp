#include "assay/ablation/run.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <numbers>
#include <optional>
#include <set>

#include "assay/base/checked.h"
#include "assay/base/clock.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/json_text.h"
#include "assay/calibration/block_run.h"
#include "assay/calibration/distinct_share.h"
#include "assay/calibration/visitors.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/observed_ops.h"
#include "assay/model/roles.h"
#include "assay/recipes/candidate_formats.h"
#include "assay/storage/provenance.h"
#include "assay/version.h"

namespace assay {
namespace {

constexpr std::size_t kFileLimit = std::size_t{64} << 20;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// "2026-07-31T12:00:00Z".
std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

/// The model in one format under one draw, as it grows matrix by matrix.
struct Variant {
  std::uint64_t batches = 0;
  std::map<std::string, std::shared_ptr<const Linear>> matrices;
  ArtifactHash artifact;
  std::set<ColumnOrder> orders;  // of error feedback, over matrices
  Cell cell;
  double clipped = 0, weights = 0, heldout_square = 0;
};

/// One matrix inside the blocks.
struct Subject {
  std::optional<PackedMatrix> matrix;
  std::shared_ptr<const Linear> linear;
  std::vector<FormatPtr> formats;
  bool expert = false;
  bool measured = false;
};

/// One draw of calibration text: windows, and the variants that it makes, [format][N].
struct Draw {
  const AblationOptions& options;
  std::size_t calibration_tokens = 0;  // the first so many of the text; the rest is held out
  Visitors visitors = {};
  std::vector<std::vector<Variant>> variants = {};
  std::vector<CalibratedRoundingOptions> rounding = {};  // for each N
  std::optional<Progress> progress = {};
};

std::string order_names(const std::set<ColumnOrder>& orders) {
  std::string names;
  for (const ColumnOrder order : orders) {
    if (!names.empty()) names += " and ";
    names += order == ColumnOrder::groups ? "groups" : "activation";
  }
  return names.empty() ? "none" : names;
}

/// One variant of a matrix: rounded, weighed by both texts, and kept.
void add_matrix(Variant& variant, const std::string& tensor, const Format& format,
                std::span<const float> weights, const MatrixShape& shape, const Hessian& hessian,
                const Hessian& heldout, bool expert, const CalibratedRoundingOptions& options) {
  const Layout layout = format.layout(shape.columns);
  CalibratedRoundingReport report;
  const std::string why = why_without_inputs(hessian.tokens, shape.columns, expert);
  RoundedMatrix rounded;
  if (variant.batches == 0)
    rounded = round_plainly(format, weights, shape.rows, shape.columns);
  else if (!why.empty())
    rounded = round_without_inputs(format, weights, shape.rows, shape.columns, hessian.tokens, why, report);
  else
    rounded = round_calibrated(format, weights, shape.rows, hessian, options, report);
  std::vector<std::vector<std::byte>> planes;
  for (const Plane& plane : layout.planes)
    planes.emplace_back(layout.bytes(plane, unit_count(layout, shape.rows, shape.columns)));
  format.pack(rounded.params, rounded.codes, std::vector<MutableBytes>(planes.begin(), planes.end()));
  variant.artifact.add(tensor, planes);
  std::vector<float> stored(weights.size());
  format.decode(rounded.params, rounded.codes, stored);

  if (variant.batches != 0 && options.feedback && why.empty())
    variant.orders.insert(feedback_order(format, shape.columns));
  Cell& cell = variant.cell;
  const auto outputs = static_cast<double>(shape.rows);
  cell.heldout_loss += output_loss(heldout, weights, stored) / outputs;
  cell.calibration_loss += output_loss(hessian, weights, stored) / outputs;
  variant.heldout_square += output_loss(heldout, weights, {}) / outputs;
  variant.clipped += static_cast<double>(report.clipped);
  variant.weights += static_cast<double>(weights.size());
  cell.largest_damping = std::max(cell.largest_damping, report.damping);
  cell.predicted_gain += report.predicted_gain;
  const double per_column = variant.batches == 0 ? 0 : report.tokens_per_column;
  cell.tokens_per_column =
      variant.matrices.empty() ? per_column : std::min(cell.tokens_per_column, per_column);
  variant.matrices[tensor] = make_linear(
      PackedMatrix::of_floats(std::move(stored), shape.rows, shape.columns), {Residency::decoded});
}

/// The second moments of some rows of a group's inputs, each made once.
class Moments {
 public:
  Moments(std::span<const float> x, std::size_t columns) : x_(x), columns_(columns) {}
  std::size_t tokens() const { return x_.size() / columns_; }
  const Hessian& of(std::size_t first, std::size_t count) {
    const auto [at, missing] = made_.try_emplace({first, count});
    if (missing) at->second = make_hessian(x_.subspan(first * columns_, count * columns_), count, columns_);
    return at->second;
  }

 private:
  std::span<const float> x_;
  std::size_t columns_;
  std::map<std::pair<std::size_t, std::size_t>, Hessian> made_;
};

/// Every variant of a matrix, by its inputs; without any, an expert that no token visits.
void make_variants(Draw& draw, const std::string& tensor, Subject& subject, Moments& moments) try {
  const MatrixShape shape{subject.matrix->rows(), subject.matrix->columns()};
  std::vector<float> weights(shape.rows * shape.columns);
  subject.matrix->decode(0, shape.rows, weights);
  const AblationOptions& options = draw.options;
  // An expert sees its visitors only; the windows that calibrate come first.
  const std::size_t seen = draw.visitors.among(tensor, draw.calibration_tokens);
  const Hessian& heldout = moments.of(seen, moments.tokens() - seen);
  for (std::size_t n = options.batches.size(); n-- > 0;) {
    // What plain rounding loses on calibration text is told by the largest draw: it has none of its own.
    const bool plain = options.batches[n] == 0;
    const std::size_t used =
        plain ? seen : draw.visitors.among(tensor, options.batches[n] * options.tokens_per_batch);
    const Hessian& hessian = moments.of(0, used);
    for (std::size_t f = 0; f < subject.formats.size(); ++f) {
      const auto start = Clock::now();
      Variant& variant = draw.variants[f][n];
      add_matrix(variant, tensor, *subject.formats[f], weights, shape, hessian, heldout, subject.expert,
                 draw.rounding[n]);
      variant.cell.milliseconds += milliseconds_since(start);
      draw.progress->advance(1);
    }
  }
  subject.measured = true;
} catch (const Error& problem) {
  fail("tensor {}: {}", tensor, problem.what());
}

class Ablation {
 public:
  Ablation(const LoadedModel& model, bool rotated, const Corpus& corpus, const AblationOptions& options)
      : model_(model), corpus_(corpus), options_(options) {
    if (options.formats.empty()) fail("ablation: no formats");
    if (options.window < 2 || options.tokens_per_batch % options.window != 0 ||
        options.heldout_tokens < options.window)
      fail("ablation: batches of {} tokens and {} held-out tokens cannot be cut into windows of {}",
           options.tokens_per_batch, options.heldout_tokens, options.window);
    if (corpus.tokens.size() < options.heldout_tokens)
      fail("{}: {} tokens, {} needed for the held-out loss", corpus.label, corpus.tokens.size(),
           options.heldout_tokens);
    setting_.model = std::filesystem::path(model.checkpoint->path).filename().string();
    setting_.checkpoint_sha256 = content_identity(*model.checkpoint, model.context.progress);
    setting_.rotated = rotated;
    setting_.tokens_per_batch = options.tokens_per_batch;
    setting_.evaluation_sha256 = corpus.text_sha256;
    setting_.evaluation_tokens = count_scored(list_windows(corpus.tokens.size(), options.evaluate.windows));
    setting_.heldout_tokens = heldout_windows() * options.window;
    setting_.damping = options.rounding.damping;
    setting_.refinements = options.rounding.refinements;
    setting_.revision = ASSAY_REVISION;
  }

  /// Whole once a text was drawn.
  const CellSetting& setting() const { return setting_; }

  /// The calibration windows of a seed, the smaller N first, and behind them the held-out ones.
  CalibrationText draw_text(std::uint64_t seed) {
    const std::uint64_t most = std::max<std::uint64_t>(1, std::ranges::max(options_.batches));
    CalibrationText text = load_calibration_text(
        model_,
        {options_.calibration, most * options_.tokens_per_batch, options_.window, seed, options_.any_text});
    refuse_overlap(text, corpus_.tokens, corpus_.label);
    setting_.calibration_sha256 = text.text_sha256;
    for (std::size_t w = 0; w < heldout_windows(); ++w) {
      const auto first = corpus_.tokens.begin() + static_cast<std::ptrdiff_t>(w * options_.window);
      text.windows.emplace_back(first, first + static_cast<std::ptrdiff_t>(options_.window));
    }
    return text;
  }

  std::vector<Cell> run_seed(std::uint64_t seed) {
    const CalibrationText text = draw_text(seed);
    Draw draw{options_, text.tokens() - setting_.heldout_tokens};
    std::map<std::string, Subject> subjects = list_subjects();
    for (std::size_t f = 0; f < options_.formats.size(); ++f) {
      draw.variants.emplace_back(options_.batches.size());
      for (std::size_t n = 0; n < options_.batches.size(); ++n)
        draw.variants[f][n].batches = options_.batches[n];
    }
    for (const std::uint64_t n : options_.batches) {
      CalibratedRoundingOptions rounding = options_.rounding;
      rounding.distinct_share =
          distinct_share(std::span(text.windows).first(n * options_.tokens_per_batch / options_.window));
      draw.rounding.push_back(rounding);
    }
    round_all(draw, subjects, text, seed);
    evaluate_all(draw, seed);

    std::vector<Cell> cells;
    for (std::size_t f = 0; f < options_.formats.size(); ++f)
      for (Variant& variant : draw.variants[f]) {
        Cell& cell = variant.cell;
        cell.setting = setting_;
        cell.format = options_.formats[f];
        cell.seed = seed;
        cell.batches = variant.batches;
        cell.order = order_names(variant.orders);
        cell.artifact_sha256 = variant.artifact.hex();
        cell.heldout_relative = variant.heldout_square > 0 ? cell.heldout_loss / variant.heldout_square : 0;
        cell.predicted_gain /= static_cast<double>(variant.matrices.size());
        cell.clip_rate = variant.clipped / variant.weights;
        cell.time = utc_now();
        cells.push_back(cell);
      }
    return cells;
  }

 private:
  std::size_t heldout_windows() const { return options_.heldout_tokens / options_.window; }

  std::map<std::string, Subject> list_subjects() const {
    std::map<std::string, Subject> subjects;
    for (const Tensor& tensor : model_.checkpoint->tensors)
      if (const Role role = require_role(tensor.name, model_.checkpoint->path); is_block_matrix(role)) {
        subjects[tensor.name].formats = candidate_formats(tensor, options_.formats);
        subjects[tensor.name].expert = is_expert_matrix(role);
      }
    if (subjects.empty()) fail("{}: no matrices to quantise", model_.checkpoint->path);
    return subjects;
  }

  void round_all(Draw& draw, std::map<std::string, Subject>& subjects, const CalibrationText& text,
                 std::uint64_t seed) {
    draw.progress.emplace(model_.context.progress, fmt::format("{} seed {}", setting_.model, seed),
                          subjects.size() * options_.formats.size() * options_.batches.size(), "matrices");
    std::map<const Linear*, std::pair<std::string, Subject*>> by_linear;
    const auto look = [&](std::span<const Linear* const> group, const Rows& x) {
      Moments moments(host_values<float>(x), x.width());
      for (const Linear* linear : group)
        if (const auto found = by_linear.find(linear);
            found != by_linear.end() && !found->second.second->measured)
          make_variants(draw, found->second.first, *found->second.second, moments);
    };
    const auto ops = observed_ops(cpu_ops(), {.linear = look, .route = draw.visitors.observer()});
    LoadOptions load;
    load.context.ops = ops.get();
    load.factory = [&](const MatrixPlace& place, PackedMatrix matrix) -> std::shared_ptr<const Linear> {
      std::shared_ptr<const Linear> linear = make_linear(matrix, {Residency::decoded});
      const std::string& name = place.tensor;
      const auto found = subjects.find(name);
      if (found == subjects.end()) return others_[name] = linear;
      if (!place.whole)
        fail("{}: tensor {}: the ablation does not take stacked experts apart", model_.checkpoint->path,
             name);
      found->second.matrix = std::move(matrix);
      found->second.linear = std::move(linear);
      by_linear[found->second.linear.get()] = {name, &found->second};
      return found->second.linear;
    };
    const auto model = Model::load(model_.checkpoint, load);
    BlockRun run(*model, text, model_.context.activations());
    run.start();
    for (int block = 0; block < model->config().layers; ++block) run.forward(block);
    for (auto& [name, subject] : subjects) {
      if (subject.measured) continue;
      if (!subject.expert) fail("{}: tensor {} saw no inputs", model_.checkpoint->path, name);
      Moments none({}, subject.matrix->columns());
      make_variants(draw, name, subject, none);
    }
  }

  /// All variants over the corpus, with the original in lockstep. Plain rounding is the same for every seed
  /// and measured once.
  void evaluate_all(Draw& draw, std::uint64_t seed) {
    std::vector<Variant*> variants;
    for (auto& of_format : draw.variants)
      for (Variant& variant : of_format)
        if (!known_.contains(variant.artifact.hex())) variants.push_back(&variant);
    std::vector<std::shared_ptr<const Model>> models;
    std::vector<EvaluatedModel> evaluated;
    for (const Variant* variant : variants) {
      LoadOptions load;
      load.factory = [&](const MatrixPlace& place, const PackedMatrix&) -> std::shared_ptr<const Linear> {
        const auto found = variant->matrices.find(place.tensor);
        return found == variant->matrices.end() ? others_.at(place.tensor) : found->second;
      };
      models.push_back(Model::load(model_.checkpoint, load));
      evaluated.push_back({models.back().get(), setting_.model});
    }
    if (!evaluated.empty()) {
      const Evaluation result = evaluate(evaluated, EvaluatedModel{model_.model.get(), setting_.model},
                                         corpus_.tokens, options_.evaluate, model_.context);
      const auto bytes = static_cast<double>(
          scored_bytes(corpus_, *model_.tokenizer, result, options_.evaluate.windows.protocol).bytes);
      for (std::size_t i = 0; i < variants.size(); ++i) {
        Cell& known = known_[variants[i]->artifact.hex()] = losses(result, i, bytes);
        known.seed = seed;
      }
    }
    for (auto& of_format : draw.variants)
      for (Variant& variant : of_format) {
        const Cell& measured = known_.at(variant.artifact.hex());
        Cell& cell = variant.cell;
        cell.perplexity = measured.perplexity;
        cell.original_perplexity = measured.original_perplexity;
        cell.bits_per_byte = measured.bits_per_byte;
        cell.original_bits_per_byte = measured.original_bits_per_byte;
        cell.divergence = measured.divergence;
        cell.top1_agreement = measured.top1_agreement;
        if (measured.seed == seed)
          cell.milliseconds += measured.milliseconds;
        else
          cell.evaluated_with_seed = measured.seed;
      }
  }

  static Cell losses(const Evaluation& result, std::size_t index, double bytes) {
    const ModelLosses& model = result.models[index];
    const Divergence& divergence = *model.divergence;
    Cell cell;
    cell.perplexity = model.perplexity();
    cell.original_perplexity = result.reference->perplexity();
    cell.bits_per_byte = model.nll_sum / std::numbers::ln2 / bytes;
    cell.original_bits_per_byte = result.reference->nll_sum / std::numbers::ln2 / bytes;
    for (std::size_t i = 0; i < divergence.kl.size(); ++i) {
      cell.divergence += divergence.kl[i];
      cell.top1_agreement += divergence.same_top[i];
    }
    cell.divergence /= static_cast<double>(divergence.kl.size());
    cell.top1_agreement /= static_cast<double>(divergence.kl.size());
    cell.milliseconds = 1000 * model.seconds;
    return cell;
  }

  const LoadedModel& model_;
  const Corpus& corpus_;
  const AblationOptions& options_;
  CellSetting setting_;
  std::map<std::string, std::shared_ptr<const Linear>> others_;  // embedding and head
  std::map<std::string, Cell> known_;                            // what was measured, by artifact
};

std::string to_lines(const std::vector<Cell>& cells) {
  std::string lines;
  for (const Cell& cell : cells) lines += json_text(cell.to_json()) + "\n";
  return lines;
}

}  // namespace

void ArtifactHash::add(const std::string& tensor, const std::vector<std::vector<std::byte>>& planes) {
  std::vector<std::byte> bytes;
  for (const auto& plane : planes) bytes.insert(bytes.end(), plane.begin(), plane.end());
  hashes_[tensor] = sha256_hex(bytes);
}

std::string ArtifactHash::hex() const {
  std::string list;
  for (const auto& [tensor, hash] : hashes_) list += tensor + " " + hash + "\n";
  return sha256_hex(std::as_bytes(std::span(list.data(), list.size())));
}

std::string artifact_hash(const Checkpoint& checkpoint) {
  ArtifactHash hash;
  for (const Tensor& tensor : checkpoint.tensors) {
    if (!is_block_matrix(require_role(tensor.name, checkpoint.path))) continue;
    std::vector<std::vector<std::byte>> planes;
    for (const Bytes& plane : tensor.planes) planes.emplace_back(plane.begin(), plane.end());
    hash.add(tensor.name, planes);
  }
  return hash.hex();
}

std::vector<Cell> run_ablation(const LoadedModel& model, bool rotated, const Corpus& corpus,
                               const AblationOptions& options, const std::string& path) {
  if (options.seeds.empty() ||
      std::set(options.seeds.begin(), options.seeds.end()).size() != options.seeds.size())
    fail("ablation: seeds must be given, each once");
  const ThreadScope threads(model.context.threads);
  std::vector<Cell> cells;
  std::error_code absent;
  if (std::filesystem::is_regular_file(path, absent)) cells = read_cells(read_file(path, kFileLimit), path);
  Ablation ablation(model, rotated, corpus, options);
  ablation.draw_text(options.seeds.front());
  for (const Cell& cell : cells)
    if (!(cell.setting == ablation.setting()))
      fail(
          "{}: the cell of {}, seed {}, N {} was made with another setting (model, texts, tokens, damping or "
          "revision); give another file",
          path, cell.format, cell.seed, cell.batches);
  for (const std::uint64_t seed : options.seeds) {
    const auto is_asked_for = [&](const Cell& cell) {
      return cell.seed == seed && std::ranges::count(options.formats, cell.format) > 0 &&
             std::ranges::count(options.batches, cell.batches) > 0;
    };
    const auto there = static_cast<std::size_t>(std::ranges::count_if(cells, is_asked_for));
    if (there == options.formats.size() * options.batches.size()) continue;
    std::erase_if(cells, is_asked_for);
    std::ranges::move(ablation.run_seed(seed), std::back_inserter(cells));
    require_unchanged(*model.checkpoint);
    write_file_atomically(path, to_lines(cells));
  }
  return cells;
}

}  // namespace assay
