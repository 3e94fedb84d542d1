#include "assay/allocation/sensitivity.h"

#include <algorithm>
#include <map>

#include "assay/base/error.h"
#include "assay/calibration/block_run.h"
#include "assay/calibration/distinct_share.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/observed_ops.h"
#include "assay/measure/evaluate.h"
#include "assay/model/roles.h"
#include "assay/recipes/candidate_formats.h"
#include "assay/rounding/rounded_plainly.h"
#include "assay/rounding/rounding_error.h"
#include "assay/storage/provenance.h"
#include "assay/version.h"

namespace assay {
namespace {

constexpr std::size_t kModelsTogether = 6;  // with one matrix rounded each; they share all others

/// A matrix of the model with its kernel, and what has been found out about it.
struct Subject {
  std::string tensor;
  Role role = {};
  std::optional<PackedMatrix> matrix = {};
  std::shared_ptr<const Linear> linear = {};
  std::vector<FormatPtr> formats = {};
  std::uint64_t tokens = 0;         // that it saw
  std::vector<double> losses = {};  // of each format, under the layer's inputs; unseen, of the weights
  // Of the coarsest format by plain rounding, which is what the divergence is measured with.
  std::size_t probe = 0;
  double plain_loss_of_probe = 0, squared_error_of_probe = 0;
  double divergence_of_probe = 0;  // nats a token
};

double squared_error(std::span<const float> weights, std::span<const float> stored) {
  RoundingError error;
  error.add(weights, stored);
  return error.squared_error;
}

std::vector<float> decoded(const Format& format, const RoundedMatrix& matrix, std::size_t weights) {
  std::vector<float> stored(weights);
  format.decode(matrix.params, matrix.codes, stored);
  return stored;
}

/// Every format by the layer's own inputs, rounded as calibration would; by the weights alone where no token
/// came by.
void weigh(Subject& subject, const Hessian& hessian, const CalibratedRoundingOptions& options,
           Progress& progress) {
  const std::uint64_t rows = subject.matrix->rows(), columns = subject.matrix->columns();
  std::vector<float> weights(rows * columns);
  subject.matrix->decode(0, rows, weights);
  subject.tokens = hessian.tokens;
  const std::string why = why_without_inputs(hessian.tokens, columns, is_expert_matrix(subject.role));
  const auto loss_of = [&](std::span<const float> stored) {
    return hessian.tokens > 0 ? output_loss(hessian, weights, stored) : squared_error(weights, stored);
  };
  for (std::size_t f = 0; f < subject.formats.size(); ++f) {
    const Format& format = *subject.formats[f];
    const std::vector<float> plain =
        decoded(format, round_plainly(format, weights, rows, columns), weights.size());
    const double plain_loss = loss_of(plain);
    CalibratedRoundingReport report;
    if (!options.feedback)
      subject.losses.push_back(plain_loss);
    else if (!why.empty())
      subject.losses.push_back(
          loss_of(decoded(format, round_by_weights(format, weights, rows, columns), weights.size())));
    else
      subject.losses.push_back(loss_of(decoded(
          format, round_calibrated(format, weights, rows, hessian, options, report), weights.size())));
    if (f == subject.probe) {
      subject.plain_loss_of_probe = plain_loss;
      subject.squared_error_of_probe = squared_error(weights, plain);
    }
    progress.advance(1);
  }
}

std::uint64_t bytes_of(const Format& format, const PackedMatrix& matrix) {
  return packed_bytes(format, matrix.rows(), matrix.columns()).value();
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// The matrices of the blocks, and what is found out about them step by step.
class Weighing {
 public:
  Weighing(const LoadedModel& model, const CalibrationText& text, const SensitivityOptions& options)
      : model_(model), checkpoint_(*model.checkpoint), text_(text), options_(options) {
    for (const Tensor& tensor : checkpoint_.tensors)
      if (const Role role = require_role(tensor.name, checkpoint_.path); is_block_matrix(role)) {
        Subject subject;
        subject.tensor = tensor.name;
        subject.role = role;
        subject.formats = fitting_formats(tensor, role, options.formats);
        if (!subject.formats.empty()) subjects_.push_back(std::move(subject));
      }
    for (Subject& subject : subjects_) by_name_[subject.tensor] = &subject;
    rounding_.feedback = options.feedback;
    rounding_.distinct_share = distinct_share(text.windows);
  }

  /// The loss of every format under the inputs that the model as it is gives its matrices.
  void weigh_formats() {
    std::size_t trials = 0;
    for (const Subject& subject : subjects_) trials += subject.formats.size();
    Progress progress(model_.context.progress, "weigh formats", trials, "matrices");
    std::map<const Linear*, Subject*> by_linear;
    const auto look = [&](std::span<const Linear* const> group, const Rows& x) {
      std::optional<Hessian> hessian;
      for (const Linear* linear : group) {
        const auto found = by_linear.find(linear);
        if (found == by_linear.end() || !found->second->losses.empty()) continue;
        try {
          if (!hessian) hessian = make_hessian(host_values<float>(x), x.count(), x.width());
          weigh(*found->second, *hessian, rounding_, progress);
        } catch (const Error& problem) {
          fail("{}: tensor {}: {}", checkpoint_.path, found->second->tensor, problem.what());
        }
      }
    };
    const auto ops = observed_ops(cpu_ops(), {.linear = look});
    LoadOptions load;
    load.context.ops = ops.get();
    load.factory = [&](const MatrixPlace& place, PackedMatrix matrix) {
      std::shared_ptr<const Linear> linear = make_linear(matrix, {Residency::decoded});
      if (Subject* subject = take(place, std::move(matrix), linear)) by_linear[linear.get()] = subject;
      return linear;
    };
    const auto weighed = Model::load(model_.checkpoint, load);
    BlockRun run(*weighed, text_, model_.context.activations());
    run.start();
    for (int block = 0; block < weighed->config().layers; ++block) run.forward(block);
    for (Subject& subject : subjects_)
      if (subject.losses.empty())
        weigh(subject, Hessian{subject.matrix->columns(), 0, {}}, rounding_, progress);
  }

  /// What the model loses when one matrix alone is rounded, to its coarsest format.
  void measure_divergences() {
    std::vector<TokenId> tokens;
    for (std::size_t w = 0; w < std::min(options_.divergence_windows, text_.windows.size()); ++w)
      tokens.insert(tokens.end(), text_.windows[w].begin(), text_.windows[w].end());
    EvaluateOptions evaluation;
    evaluation.windows = {Protocol::chunked, text_.options.window, 0};
    Progress progress(model_.context.progress, "measure divergence", subjects_.size(), "matrices");
    for (std::size_t first = 0; first < subjects_.size(); first += kModelsTogether) {
      const std::size_t count = std::min(kModelsTogether, subjects_.size() - first);
      std::vector<std::shared_ptr<const Model>> models;
      std::vector<EvaluatedModel> evaluated;
      for (std::size_t i = first; i < first + count; ++i) {
        models.push_back(with_one_rounded(subjects_[i]));
        evaluated.push_back({models.back().get(), subjects_[i].tensor});
      }
      const Evaluation result = evaluate(evaluated, EvaluatedModel{model_.model.get(), checkpoint_.path},
                                         tokens, evaluation, model_.context);
      for (std::size_t i = 0; i < count; ++i)
        subjects_[first + i].divergence_of_probe = mean(result.models[i].divergence->kl);
      progress.advance(count);
    }
  }

  /// Losses priced in divergence.
  std::vector<TensorSensitivity> price() const {
    std::map<Role, double> least = least_prices();
    std::vector<TensorSensitivity> tensors;
    for (const Subject& subject : subjects_) {
      TensorSensitivity tensor{subject.tensor, subject.matrix->rows() * subject.matrix->columns(), {}, {}};
      tensor.unseen = subject.tokens == 0;
      const double per_loss = tensor.unseen ? least[subject.role]
                              : subject.plain_loss_of_probe > 0
                                  ? subject.divergence_of_probe / subject.plain_loss_of_probe
                                  : 0;
      for (std::size_t f = 0; f < subject.formats.size(); ++f) {
        tensor.formats.emplace_back(subject.formats[f]->name());
        tensor.choices.push_back(
            {bytes_of(*subject.formats[f], *subject.matrix), std::max(0.0, subject.losses[f] * per_loss)});
      }
      tensors.push_back(std::move(tensor));
    }
    return tensors;
  }

 private:
  /// Keeps the matrix where it is a subject's; its kernel in any case.
  Subject* take(const MatrixPlace& place, PackedMatrix matrix, const std::shared_ptr<const Linear>& linear) {
    const auto found = by_name_.find(place.tensor);
    if (found == by_name_.end()) {
      others_[place.tensor] = linear;
      return nullptr;
    }
    if (!place.whole)
      fail(
          "{}: tensor {}: stacked experts cannot be weighed one by one; start from a checkpoint that stores "
          "them "
          "apart",
          checkpoint_.path, place.tensor);
    Subject& subject = *found->second;
    subject.matrix = std::move(matrix);
    subject.linear = linear;
    for (std::size_t f = 1; f < subject.formats.size(); ++f)
      if (bytes_of(*subject.formats[f], *subject.matrix) <
          bytes_of(*subject.formats[subject.probe], *subject.matrix))
        subject.probe = f;
    return &subject;
  }

  ModelPtr with_one_rounded(const Subject& rounded) const {
    LoadOptions load;
    load.factory = [&](const MatrixPlace& place,
                       const PackedMatrix& matrix) -> std::shared_ptr<const Linear> {
      const auto found = by_name_.find(place.tensor);
      if (found == by_name_.end()) return others_.at(place.tensor);
      if (found->second != &rounded) return found->second->linear;
      return make_linear(as_rounded_plainly(matrix, rounded.formats[rounded.probe]), {Residency::decoded});
    };
    return Model::load(model_.checkpoint, load);
  }

  /// What an unseen expert costs nobody knows: a unit of its squared error at the least price of the others
  /// of its kind.
  std::map<Role, double> least_prices() const {
    std::map<Role, double> least;
    for (const Subject& subject : subjects_)
      if (subject.tokens > 0 && subject.squared_error_of_probe > 0) {
        const double price = subject.divergence_of_probe / subject.squared_error_of_probe;
        const auto [at, first] = least.emplace(subject.role, price);
        if (!first && price > 0) at->second = at->second > 0 ? std::min(at->second, price) : price;
      }
    return least;
  }

  const LoadedModel& model_;
  const Checkpoint& checkpoint_;
  const CalibrationText& text_;
  const SensitivityOptions& options_;
  CalibratedRoundingOptions rounding_;
  std::vector<Subject> subjects_;
  std::map<std::string, Subject*> by_name_;
  std::map<std::string, std::shared_ptr<const Linear>> others_;  // embedding and head
};

}  // namespace

Sensitivities measure_sensitivities(const LoadedModel& model, const CalibrationText& text,
                                    const SensitivityOptions& options) {
  const ThreadScope threads(model.context.threads);
  Weighing weighing(model, text, options);
  weighing.weigh_formats();
  weighing.measure_divergences();
  Sensitivities sensitivities;
  sensitivities.tensors = weighing.price();
  sensitivities.made_from = {content_identity(*model.checkpoint, model.context.progress),
                             options.formats,
                             options.feedback,
                             options.divergence_windows,
                             ASSAY_REVISION,
                             {text.record("allocation")}};
  return sensitivities;
}

}  // namespace assay
