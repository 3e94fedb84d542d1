#include "assay/measure/measurement.h"

#include <algorithm>
#include <cmath>

#include "assay/base/error.h"
#include "assay/measure/machine.h"
#include "assay/parallel/threads.h"
#include "assay/version.h"

namespace assay {
namespace {

constexpr double kBitsPerNat = 1.4426950408889634;  // 1 / ln 2

/// Quantiles of a resampled text, all in one walk over the values in ascending order.
ClusterStatistic quantile_statistic(std::span<const double> values, const Clusters& clusters,
                                    std::vector<double> fractions) {
  struct Entry {
    double value;
    std::uint32_t cluster;
  };
  std::vector<Entry> ascending;
  ascending.reserve(values.size());
  for (std::size_t d = 0; d < clusters.count(); ++d)
    for (std::size_t i = clusters.starts[d]; i < clusters.starts[d + 1]; ++i)
      ascending.push_back({values[i], static_cast<std::uint32_t>(d)});
  std::stable_sort(ascending.begin(), ascending.end(),
                   [](const Entry& a, const Entry& b) { return a.value < b.value; });
  std::vector<std::size_t> sizes;
  for (std::size_t d = 0; d < clusters.count(); ++d) sizes.push_back(clusters.size(d));
  return [ascending = std::move(ascending), sizes = std::move(sizes), fractions = std::move(fractions)](
             std::span<const std::uint32_t> counts, std::span<double> out) {
    std::size_t total = 0, next = 0, passed = 0;
    for (std::size_t d = 0; d < counts.size(); ++d) total += counts[d] * sizes[d];
    for (const Entry& entry : ascending) {
      passed += counts[entry.cluster];
      while (next < out.size() &&
             static_cast<double>(passed) > fractions[next] * static_cast<double>(total - 1))
        out[next++] = entry.value;
      if (next == out.size()) return;
    }
  };
}

void add_intervals(const Divergence& divergence, const Clusters& clusters, DivergenceSummary& summary) {
  summary.mean_interval = ratio_mean(divergence.kl, clusters).interval();
  if (clusters.count() < kEnoughClusters) return;
  summary.bootstrapped = true;
  summary.mean_interval =
      bootstrap_bca(ratio_mean_statistic(divergence.kl, clusters), 1, clusters.count()).front();
  const auto quantiles =
      bootstrap_bca(quantile_statistic(divergence.kl, clusters, {0.5, 0.9, 0.95, 0.99}), 4, clusters.count());
  summary.median_interval = quantiles[0];
  summary.p90_interval = quantiles[1];
  summary.p95_interval = quantiles[2];
  summary.p99_interval = quantiles[3];
}

ModelMeasurement summarise_model(const LoadedModel& loaded, const ModelLosses& losses,
                                 const Measurement& whole) {
  ModelMeasurement result;
  result.facts = describe_model(loaded);
  result.nll_sum = losses.nll_sum;
  result.nll_mean = losses.nll_mean();
  result.perplexity = losses.perplexity();
  if (!std::isfinite(result.perplexity))
    fail("{}: perplexity exp({}) is not a number this program can print: the model is broken",
         loaded.checkpoint->path, result.nll_mean);
  result.bits_per_byte = losses.nll_sum * kBitsPerNat / static_cast<double>(whole.bytes.bytes);
  result.seconds = losses.seconds;
  result.tokens_per_second = static_cast<double>(whole.evaluation.tokens_run) / losses.seconds;
  result.gflops = losses.flops / losses.seconds / 1e9;
  result.perplexity_interval = exponential(ratio_mean(losses.nll, whole.clusters).interval());
  if (!losses.divergence) return result;
  result.divergence = summarise(*losses.divergence, whole.clusters);
  result.against_reference = compare_losses(result.facts.name, "the reference", losses.nll,
                                            whole.evaluation.reference->nll, whole.clusters);
  return result;
}

}  // namespace

DivergenceSummary summarise(const Divergence& divergence, const Clusters& clusters) {
  DivergenceSummary summary;
  const auto count = static_cast<double>(divergence.kl.size());
  std::vector<double> sorted = divergence.kl;
  std::sort(sorted.begin(), sorted.end());
  for (const double value : divergence.kl) summary.mean += value / count;
  summary.median = quantile_of_sorted(sorted, 0.5);
  summary.p90 = quantile_of_sorted(sorted, 0.9);
  summary.p95 = quantile_of_sorted(sorted, 0.95);
  summary.p99 = quantile_of_sorted(sorted, 0.99);
  summary.p999 = quantile_of_sorted(sorted, 0.999);
  summary.max = sorted.back();
  add_intervals(divergence, clusters, summary);

  const std::vector<double> same(divergence.same_top.begin(), divergence.same_top.end());
  const RatioMean agreement = ratio_mean(same, clusters);
  summary.top1_agreement = agreement.mean;
  if (const auto share = agreement.interval())
    summary.top1_interval = Interval{std::max(0.0, share->low), std::min(1.0, share->high)};
  for (const std::uint8_t flag : divergence.lost) summary.lost += flag;
  for (const std::uint8_t flag : divergence.gained) summary.gained += flag;
  summary.flip_p_value = mcnemar_exact(summary.lost, summary.gained);

  double squares = 0;
  for (const double value : divergence.delta_p) {
    summary.mean_delta_p += value / count;
    squares += value * value;
  }
  summary.rms_delta_p = std::sqrt(squares / count);
  sorted = divergence.delta_p;
  std::sort(sorted.begin(), sorted.end());
  summary.delta_p_p1 = quantile_of_sorted(sorted, 0.01);
  summary.delta_p_p5 = quantile_of_sorted(sorted, 0.05);
  summary.delta_p_p95 = quantile_of_sorted(sorted, 0.95);
  summary.delta_p_p99 = quantile_of_sorted(sorted, 0.99);
  return summary;
}

Measurement measure(std::span<const LoadedModel> models, const LoadedModel* reference, const Corpus& corpus,
                    const EvaluateOptions& options, std::span<const ReferenceCheck> checks) {
  const LoadedModel& source = reference != nullptr ? *reference : models.front();
  const ThreadScope threads(source.context.threads);
  std::vector<EvaluatedModel> entries;
  for (const LoadedModel& loaded : models) {
    require_same_tokens(source, loaded, corpus);
    entries.push_back({loaded.model.get(), loaded.checkpoint->path});
  }
  std::optional<EvaluatedModel> reference_entry;
  if (reference != nullptr)
    reference_entry = EvaluatedModel{reference->model.get(), reference->checkpoint->path};

  Measurement result;
  result.options = options;
  if (options.windows.protocol == Protocol::chunked) result.options.chunk_start = corpus.chunk_start;
  result.threads = thread_count();
  result.sgemm_gflops = measure_sgemm_gflops();
  result.evaluation = evaluate(entries, reference_entry, corpus.tokens, result.options, source.context);
  // The slower of before and after would flatter the model: machines are shared, so take the faster.
  result.sgemm_gflops = std::max(result.sgemm_gflops, measure_sgemm_gflops());
  result.clusters = make_clusters(document_ends(corpus, result.evaluation));
  result.bytes = scored_bytes(corpus, *source.tokenizer, result.evaluation, options.windows.protocol);
  if (reference != nullptr)
    result.reference = summarise_model(*reference, *result.evaluation.reference, result);
  for (std::size_t i = 0; i < models.size(); ++i) {
    result.models.push_back(summarise_model(models[i], result.evaluation.models[i], result));
    if (i < checks.size()) result.models.back().reference_check = checks[i];
  }
  // The summaries hash the files: they must still be those that ran.
  for (const LoadedModel& loaded : models) require_unchanged(*loaded.checkpoint);
  if (reference != nullptr) require_unchanged(*reference->checkpoint);
  return result;
}

OrderedJson interval_json(const std::optional<Interval>& interval) {
  if (!interval || !std::isfinite(interval->low) || !std::isfinite(interval->high)) return nullptr;
  return OrderedJson::array({interval->low, interval->high});
}

namespace {

void add_divergence(const ModelMeasurement& model, OrderedJson& json) {
  const DivergenceSummary& kld = *model.divergence;
  json["kld"] = {{"mean", kld.mean},
                 {"median", kld.median},
                 {"p90", kld.p90},
                 {"p95", kld.p95},
                 {"p99", kld.p99},
                 {"p999", kld.p999},
                 {"max", kld.max},
                 {"ci95", interval_json(kld.mean_interval)},
                 {"method", kld.bootstrapped ? "BCa bootstrap over clusters" : "t interval over clusters"}};
  if (kld.bootstrapped) {
    json["kld"]["seed"] = kBootstrapSeed;
    json["kld"]["resamples"] = kBootstrapResamples;
    json["kld"]["median_ci95"] = interval_json(kld.median_interval);
    json["kld"]["p90_ci95"] = interval_json(kld.p90_interval);
    json["kld"]["p95_ci95"] = interval_json(kld.p95_interval);
    json["kld"]["p99_ci95"] = interval_json(kld.p99_interval);
  }
  json["top1_agreement"] = kld.top1_agreement;
  json["top1_agreement_ci95"] = interval_json(kld.top1_interval);
  json["flips"] = {{"lost", kld.lost}, {"gained", kld.gained}, {"mcnemar_p", kld.flip_p_value}};
  json["rms_delta_p"] = kld.rms_delta_p;
  json["delta_p"] = {{"mean", kld.mean_delta_p},
                     {"p1", kld.delta_p_p1},
                     {"p5", kld.delta_p_p5},
                     {"p95", kld.delta_p_p95},
                     {"p99", kld.delta_p_p99}};
  json["ppl_ratio"] = {{"value", model.against_reference->perplexity_ratio()},
                       {"ci95", interval_json(model.against_reference->perplexity_ratio_interval())},
                       {"method", "paired t interval over clusters"}};
}

}  // namespace

OrderedJson measurement_json(const Measurement& measurement, const ModelMeasurement& model,
                             const Corpus& corpus) {
  const WindowOptions& windows = measurement.options.windows;
  OrderedJson json = {{"perplexity", model.perplexity},
                      {"perplexity_ci95", interval_json(model.perplexity_interval)},
                      {"nll", model.nll_mean},
                      {"nll_sum", model.nll_sum},
                      {"bits_per_byte", model.bits_per_byte},
                      {"bytes", measurement.bytes.bytes},
                      {"bytes_counted", measurement.bytes.counted},
                      {"tokens", measurement.evaluation.targets.size()},
                      {"tokens_in_text", corpus.tokens_in_text},
                      {"partial", corpus.partial},
                      {"self_sampled", corpus.self_sampled},
                      {"windows", measurement.evaluation.windows.size()},
                      {"window", windows.window}};
  json["stride"] = windows.protocol == Protocol::sliding ? OrderedJson(windows.stride) : OrderedJson(nullptr);
  json["protocol"] = protocol_name(windows.protocol);
  json["mode"] = mode_name(measurement.options.mode);
  json["bos_added"] = corpus.bos_added;
  json["bos_each_chunk"] = measurement.options.chunk_start.has_value();
  json["text"] = corpus.label;
  json["text_sha256"] = corpus.text_sha256;
  json["text_notes"] = corpus.notes;
  json["clusters"] = {{"count", measurement.clusters.count()}, {"kind", measurement.clusters.kind}};
  if (model.divergence) add_divergence(model, json);
  json["seconds"] = model.seconds;
  json["tokens_per_second"] = model.tokens_per_second;
  json["gflops"] = model.gflops;
  json["sgemm_gflops"] = measurement.sgemm_gflops;
  json["threads"] = measurement.threads;
  json["version"] = ASSAY_VERSION;
  json["revision"] = ASSAY_REVISION;
  json["model"] = to_json(model.facts);
  if (measurement.reference) {
    json["reference"] = to_json(measurement.reference->facts);
    json["reference"]["perplexity"] = measurement.reference->perplexity;
    json["reference"]["nll"] = measurement.reference->nll_mean;
    if (model.reference_check) json["reference"]["check"] = to_json(*model.reference_check);
  }
  return json;
}

}  // namespace assay
