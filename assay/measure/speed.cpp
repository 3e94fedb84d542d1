#include "assay/measure/speed.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "assay/base/clock.h"
#include "assay/base/error.h"
#include "assay/model/roles.h"

namespace assay {
namespace {

/// Ids spread over the vocabulary: what they mean does not matter to the clock.
std::vector<TokenId> some_prompt(const Model& model, std::size_t tokens) {
  std::vector<TokenId> ids(tokens);
  for (std::size_t i = 0; i < tokens; ++i)
    ids[i] = static_cast<TokenId>((i * 7919 + 13) % static_cast<std::size_t>(model.config().vocabulary));
  return ids;
}

std::vector<double> column(std::span<const DecodeSample> samples, double DecodeSample::*field) {
  std::vector<double> values;
  for (const DecodeSample& sample : samples) values.push_back(sample.*field);
  return values;
}

double rate_of(std::span<const DecodeSample> samples, const SpeedOptions& options) {
  return slope_rate(options.first_tokens, column(samples, &DecodeSample::first), options.second_tokens,
                    column(samples, &DecodeSample::second));
}

/// Percentiles over draws of whole repeats; nothing where draws occur that cannot be measured.
template <class Sample, class Statistic>
std::optional<Interval> interval_of(std::span<const Sample> samples, const Statistic& statistic) {
  constexpr std::size_t kFewest = 4;
  if (samples.size() < kFewest) return std::nullopt;
  const auto draw = [&](std::span<const std::uint32_t> counts, std::span<double> values) {
    std::vector<Sample> drawn;
    for (std::size_t i = 0; i < samples.size(); ++i) drawn.insert(drawn.end(), counts[i], samples[i]);
    try {
      values[0] = statistic(std::span<const Sample>(drawn));
    } catch (const Error&) {  // the longer run was not slower
      values[0] = std::numeric_limits<double>::infinity();
    }
  };
  const Interval interval = bootstrap_percentile(draw, 1, samples.size()).front();
  return std::isfinite(interval.high) ? std::optional(interval) : std::nullopt;
}

double single_slope(const DecodeTimer& timer, const SpeedOptions& options) {
  const double first = timer(options.first_tokens), second = timer(options.second_tokens);
  return slope_rate(options.first_tokens, std::span(&first, 1), options.second_tokens, std::span(&second, 1));
}

}  // namespace

double median(std::vector<double> values) {
  assert(!values.empty());
  std::sort(values.begin(), values.end());
  return quantile_of_sorted(values, 0.5);
}

double slope_rate(std::size_t n1, std::span<const double> seconds1, std::size_t n2,
                  std::span<const double> seconds2) {
  assert(n1 < n2);
  const double slower = median({seconds2.begin(), seconds2.end()}),
               faster = median({seconds1.begin(), seconds1.end()});
  if (!(slower > faster))
    fail(
        "decode speed is not measurable here: {} tokens took {:.4f} s, {} took {:.4f} s; use more tokens "
        "(--tokens)",
        n1, faster, n2, slower);
  return static_cast<double>(n2 - n1) / (slower - faster);
}

double abba_ratio(const AbbaQuad& quad) {
  return std::sqrt(quad.b1 * quad.b2 / (quad.a1 * quad.a2));
}

SpeedRatio combine_quads(std::span<const AbbaQuad> quads) {
  assert(!quads.empty());
  std::vector<double> logs;
  Clusters single{{0}, "quads"};
  for (const AbbaQuad& quad : quads) {
    logs.push_back(std::log(abba_ratio(quad)));
    single.starts.push_back(logs.size());
  }
  const RatioMean mean = ratio_mean(logs, single);
  return {std::exp(mean.mean), exponential(mean.interval())};
}

std::vector<DecodeSample> sample_decode(const DecodeTimer& timer, const std::function<double()>& bandwidth,
                                        const SpeedOptions& options) {
  std::vector<DecodeSample> samples;
  for (std::size_t repeat = 0; repeat < options.repeats; ++repeat) {
    DecodeSample& sample = samples.emplace_back();
    sample.first = timer(options.first_tokens);
    sample.bandwidth = bandwidth();
    sample.second = timer(options.second_tokens);
  }
  return samples;
}

Measured decode_rate(std::span<const DecodeSample> samples, const SpeedOptions& options) {
  return {rate_of(samples, options),
          interval_of(samples, [&](std::span<const DecodeSample> drawn) { return rate_of(drawn, options); })};
}

Measured roof_share(std::span<const DecodeSample> samples, std::uint64_t bytes, const SpeedOptions& options) {
  const auto share = [&](std::span<const DecodeSample> drawn) {
    return rate_of(drawn, options) * static_cast<double>(bytes) /
           median(column(drawn, &DecodeSample::bandwidth));
  };
  return {share(samples), interval_of(samples, share)};
}

Measured median_of(std::span<const double> values) {
  const auto statistic = [](std::span<const double> drawn) { return median({drawn.begin(), drawn.end()}); };
  return {statistic(values), interval_of(values, statistic)};
}

std::vector<AbbaQuad> measure_quads(const DecodeTimer& a, const DecodeTimer& b, const SpeedOptions& options) {
  std::vector<AbbaQuad> quads;
  for (std::size_t repeat = 0; repeat < options.repeats; ++repeat) {
    AbbaQuad quad;
    quad.a1 = single_slope(a, options);
    quad.b1 = single_slope(b, options);
    quad.b2 = single_slope(b, options);
    quad.a2 = single_slope(a, options);
    quads.push_back(quad);
  }
  return quads;
}

DecodeTimer decode_timer(const Model& model, const SpeedOptions& options) {
  return [&model, prompt = some_prompt(model, options.prompt_tokens)](std::size_t tokens) {
    GenerateOptions generation;
    generation.max_tokens = static_cast<int>(tokens);
    generation.stop_at_end_token = false;
    const auto start = Clock::now();
    generate(model, prompt, generation);
    return seconds_since(start);
  };
}

std::vector<double> measure_prefills(const Model& model, const SpeedOptions& options) {
  const std::vector<TokenId> prompt = some_prompt(model, options.prefill_tokens);
  std::vector<double> rates;
  for (std::size_t repeat = 0; repeat <= options.repeats; ++repeat) {
    const auto start = Clock::now();
    compute_logits(model, prompt, 1);
    if (repeat > 0) rates.push_back(static_cast<double>(options.prefill_tokens) / seconds_since(start));
  }
  return rates;
}

std::uint64_t decode_bytes_per_token(const LoadedModel& loaded, std::size_t context) {
  const ModelConfig& config = loaded.model->config();
  std::uint64_t bytes = 0;
  for (const Tensor& tensor : loaded.checkpoint->tensors) {
    const auto role = classify_tensor(tensor.name);
    std::uint64_t read = tensor.stored_bytes();
    if (role == Role::embedding && !config.tied_head)  // one row
      read /= std::max<std::uint64_t>(1, as_matrix(tensor.shape).rows);
    else if (role && is_expert_matrix(*role))
      read = read * static_cast<std::uint64_t>(config.mixture.active) /
             static_cast<std::uint64_t>(config.mixture.experts);
    bytes += read;
  }
  // What delta nets carry is read and written.
  return bytes + sizeof(float) * (config.cache_floats_per_token() * context + 2 * config.carry_floats());
}

}  // namespace assay
