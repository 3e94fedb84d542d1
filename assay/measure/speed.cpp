#include "assay/measure/speed.h"

#include <algorithm>
#include <cassert>
#include <cmath>

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

double measure_decode(const DecodeTimer& timer, const SpeedOptions& options) {
  std::vector<double> first, second;
  for (std::size_t repeat = 0; repeat < options.repeats; ++repeat) {
    first.push_back(timer(options.first_tokens));
    second.push_back(timer(options.second_tokens));
  }
  return slope_rate(options.first_tokens, first, options.second_tokens, second);
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

double measure_prefill(const Model& model, const SpeedOptions& options) {
  const std::vector<TokenId> prompt = some_prompt(model, options.prefill_tokens);
  std::vector<double> seconds;
  for (std::size_t repeat = 0; repeat <= options.repeats; ++repeat) {
    const auto start = Clock::now();
    compute_logits(model, prompt, 1);
    if (repeat > 0) seconds.push_back(seconds_since(start));
  }
  return static_cast<double>(options.prefill_tokens) / median(std::move(seconds));
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
