#pragma once
// One measurement: models over a text, summarised with intervals, and as JSON with every fact a number needs.
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/measure/corpus.h"
#include "assay/measure/evaluate.h"
#include "assay/measure/model_facts.h"
#include "assay/measure/reference_check.h"
#include "assay/measure/statistics.h"
#include "assay/measure/verdict.h"

namespace assay {

/// Divergence from the reference, summed up. Percentiles are exploratory: their intervals are not shown.
struct DivergenceSummary {
  double mean = 0, median = 0, p90 = 0, p95 = 0, p99 = 0, p999 = 0, max = 0;  // KL, nats
  std::optional<Interval> mean_interval;                               // 95 %; none with a single cluster
  Interval median_interval, p90_interval, p95_interval, p99_interval;  // where bootstrapped
  bool bootstrapped = false;              // else a t interval over clusters, of the mean alone
  double top1_agreement = 0;              // share
  std::optional<Interval> top1_interval;  // 95 %, clustered
  std::uint64_t lost = 0, gained = 0;     // flips of the first choice: right to wrong, wrong to right
  double flip_p_value = 1;                // exact McNemar on the two
  double mean_delta_p = 0, rms_delta_p = 0;
  double delta_p_p1 = 0, delta_p_p5 = 0, delta_p_p95 = 0, delta_p_p99 = 0;
};

/// Needs a scored token; with a single cluster nothing has an interval.
DivergenceSummary summarise(const Divergence& divergence, const Clusters& clusters);

/// One model's results, ready to print.
struct ModelMeasurement {
  ModelFacts facts;
  double perplexity = 0, nll_mean = 0, nll_sum = 0, bits_per_byte = 0;
  std::optional<Interval> perplexity_interval;    // 95 %; none with a single cluster
  std::optional<DivergenceSummary> divergence;    // with a reference
  std::optional<Comparison> against_reference;    // model first, reference second; not decided
  std::optional<ReferenceCheck> reference_check;  // is the reference what the model was made from?
  double seconds = 0, tokens_per_second = 0, gflops = 0;
};

struct Measurement {
  Evaluation evaluation;
  Clusters clusters;
  EvaluateOptions options;
  ScoredBytes bytes;
  double sgemm_gflops = 0;  // of this machine, same run
  int threads = 0;
  std::optional<ModelMeasurement> reference;
  std::vector<ModelMeasurement> models;
};

/// Evaluates and summarises, in the context of the reference, where there is one, or of the first model.
/// Tokenizers must agree with the corpus's source (checked). `checks`: of the
/// reference, one a model, where they were made.
Measurement measure(std::span<const LoadedModel> models, const LoadedModel* reference, const Corpus& corpus,
                    const EvaluateOptions& options, std::span<const ReferenceCheck> checks = {});

/// The JSON of one model's measurement, as `assay eval --json` prints it and the ledger keeps it. Keys:
/// perplexity, perplexity_ci95, nll, nll_sum, bits_per_byte, bytes, bytes_counted, tokens (scored),
/// tokens_in_text, partial, self_sampled, windows, window, stride, protocol, mode, bos_added,
/// bos_each_chunk, text, text_sha256, text_notes, clusters, seconds, tokens_per_second, gflops, sgemm_gflops,
/// threads, version, revision, model{}; with a reference: reference{..., check}, kld{mean, median, p90, p95,
/// p99, p999, max, ci95}, top1_agreement, flips{}, rms_delta_p, delta_p{}, ppl_ratio{value, ci95}.
OrderedJson measurement_json(const Measurement& measurement, const ModelMeasurement& model,
                             const Corpus& corpus);

/// An interval as [low, high]; JSON has no infinities, so a missing one is null.
OrderedJson interval_json(const std::optional<Interval>& interval);

}  // namespace assay
