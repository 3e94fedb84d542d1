#include "assay/model/delta_net.h"

#include <algorithm>
#include <cmath>

#include "assay/base/error.h"
#include "assay/formats/multiversion.h"
#include "assay/kernels/elementwise.h"
#include "assay/kernels/tasks.h"

namespace assay {

namespace {

constexpr float kNormEpsilon = 1e-6f;  // of the l2 norms of queries and keys, on the sum of squares

/// log(1 + exp(x)), for large x too.
float softplus(float x) {
  return x > 20 ? x : std::log1p(std::exp(x));
}

/// One value head over one token. `rows` of S [value_dim, key_dim] each decay, take up, and answer.
ASSAY_MULTIVERSION void step_state(float* state, std::size_t rows, std::size_t width, const float* query,
                                   const float* key, const float* value, float decay, float beta,
                                   float* out) {
  constexpr std::size_t kLanes = 16;
  for (std::size_t r = 0; r < rows; ++r) {
    float* row = state + r * width;
    float lanes[kLanes] = {};
    std::size_t j = 0;
    for (; j + kLanes <= width; j += kLanes)
      for (std::size_t l = 0; l < kLanes; ++l) {
        row[j + l] *= decay;
        lanes[l] += row[j + l] * key[j + l];
      }
    float held = 0;
    for (; j < width; ++j) {
      row[j] *= decay;
      held += row[j] * key[j];
    }
    for (const float lane : lanes) held += lane;
    const float correction = (value[r] - held) * beta;
    std::fill_n(lanes, kLanes, 0.0f);
    j = 0;
    for (; j + kLanes <= width; j += kLanes)
      for (std::size_t l = 0; l < kLanes; ++l) {
        row[j + l] += correction * key[j + l];
        lanes[l] += row[j + l] * query[j + l];
      }
    float answer = 0;
    for (; j < width; ++j) {
      row[j] += correction * key[j];
      answer += row[j] * query[j];
    }
    for (const float lane : lanes) answer += lane;
    out[r] = answer;
  }
}

/// out[c] = sum of taps[i][c] * inputs[i][c].
ASSAY_MULTIVERSION void weigh_taps(const float* const* inputs, const float* taps, std::size_t kernel,
                                   std::size_t channels, float* out) {
  std::fill_n(out, channels, 0.0f);
  for (std::size_t i = 0; i < kernel; ++i) {
    const float* input = inputs[i];
    const float* tap = taps + i * channels;
    for (std::size_t c = 0; c < channels; ++c) out[c] += tap[c] * input[c];
  }
}

void normalise_l2(float* x, std::size_t width, float scale) {
  float sum = 0;
  for (std::size_t i = 0; i < width; ++i) sum += x[i] * x[i];
  const float factor = scale / std::sqrt(sum + kNormEpsilon);
  for (std::size_t i = 0; i < width; ++i) x[i] *= factor;
}

}  // namespace

DeltaNet::DeltaNet(const ModelConfig& config, WeightLoader& loader, const std::string& module, int layer)
    : layer_(layer),
      config_(config.delta_net),
      key_heads_(static_cast<std::size_t>(config_.key_heads)),
      value_heads_(static_cast<std::size_t>(config_.value_heads)),
      key_dim_(static_cast<std::size_t>(config_.key_dim)),
      value_dim_(static_cast<std::size_t>(config_.value_dim)),
      kernel_(static_cast<std::size_t>(config_.kernel)),
      channels_(static_cast<std::size_t>(config_.channels())),
      values_(value_heads_ * value_dim_),
      epsilon_(config.norm_epsilon) {
  const auto hidden = static_cast<std::uint64_t>(config.hidden);
  const auto take = [&](const char* name, std::uint64_t rows) {
    return loader.projection(module + name, rows, hidden, false);
  };
  if (config_.fused_projections) {
    in_ = take(".in_proj_qkvz", channels_ + values_);
    gates_ = take(".in_proj_ba", 2 * value_heads_);
  } else {
    qkv_ = take(".in_proj_qkv", channels_);
    z_ = take(".in_proj_z", values_);
    b_ = take(".in_proj_b", value_heads_);
    a_ = take(".in_proj_a", value_heads_);
  }
  output_ = loader.projection(module + ".out_proj", hidden, values_, false);
  // Hugging Face stores [channels, 1, kernel], MLX [channels, kernel, 1]: the same bytes.
  const std::string convolution = module + ".conv1d.weight";
  const Shape shape = loader.shape(convolution) == Shape{channels_, kernel_, 1}
                          ? Shape{channels_, kernel_, 1}
                          : Shape{channels_, 1, kernel_};
  const std::vector<float> by_channel = loader.values(convolution, shape);
  taps_.resize(by_channel.size());
  for (std::size_t c = 0; c < channels_; ++c)
    for (std::size_t i = 0; i < kernel_; ++i) taps_[i * channels_ + c] = by_channel[c * kernel_ + i];
  rate_ = loader.vector(module + ".A_log", value_heads_);
  for (float& rate : rate_) rate = std::exp(rate);
  bias_ = loader.vector(module + ".dt_bias", value_heads_);
  norm_ = loader.vector(module + ".norm.weight", value_dim_);
}

double DeltaNet::flops_per_token() const {
  double flops = output_.flops_per_token();
  for (const Projection* projection : {&in_, &gates_, &qkv_, &z_, &b_, &a_})
    if (projection->weight) flops += projection->flops_per_token();
  return flops;
}

/// Rows of in_proj_qkvz lie by key head as q, k, its value heads' v, their z; those of in_proj_ba as b, a.
void DeltaNet::project_fused(std::span<const float> x, std::size_t tokens, Projected& made) const {
  const std::size_t ratio = value_heads_ / key_heads_, group = ratio * value_dim_;
  FloatBuffer all(tokens * (channels_ + values_)), gates(tokens * 2 * value_heads_);
  in_.forward(x, tokens, all);
  gates_.forward(x, tokens, gates);
  for (std::size_t token = 0; token < tokens; ++token) {
    const float* from = all.data() + token * (channels_ + values_);
    float* mixed = made.mixed.data() + token * channels_;
    for (std::size_t head = 0; head < key_heads_; ++head) {
      const auto move = [&from](float* to, std::size_t count) {
        std::copy_n(from, count, to);
        from += count;
      };
      move(mixed + head * key_dim_, key_dim_);
      move(mixed + (key_heads_ + head) * key_dim_, key_dim_);
      move(mixed + 2 * key_heads_ * key_dim_ + head * group, group);
      move(made.gate.data() + token * values_ + head * group, group);
      const float* pair = gates.data() + token * 2 * value_heads_ + head * 2 * ratio;
      std::copy_n(pair, ratio, made.beta.data() + token * value_heads_ + head * ratio);
      std::copy_n(pair + ratio, ratio, made.decay.data() + token * value_heads_ + head * ratio);
    }
  }
}

void DeltaNet::project_apart(std::span<const float> x, std::size_t tokens, Projected& made) const {
  qkv_.forward(x, tokens, made.mixed);
  z_.forward(x, tokens, made.gate);
  b_.forward(x, tokens, made.beta);
  a_.forward(x, tokens, made.decay);
}

DeltaNet::Projected DeltaNet::project(std::span<const float> x, std::size_t tokens) const {
  Projected made{FloatBuffer(tokens * channels_), FloatBuffer(tokens * values_),
                 FloatBuffer(tokens * value_heads_), FloatBuffer(tokens * value_heads_)};
  if (config_.fused_projections)
    project_fused(x, tokens, made);
  else
    project_apart(x, tokens, made);
  for (std::size_t i = 0; i < tokens * value_heads_; ++i) {
    const std::size_t head = i % value_heads_;
    made.beta.data()[i] = 1.0f / (1.0f + std::exp(-made.beta.data()[i]));
    made.decay.data()[i] = std::exp(-rate_[head] * softplus(made.decay.data()[i] + bias_[head]));
  }
  return made;
}

/// The causal convolution of one chunk, with silu; leaves the last inputs behind for the next.
void DeltaNet::convolve(const BatchChunk& chunk, std::span<const float> mixed, std::span<float> out) const {
  const std::size_t held = kernel_ - 1;
  const SequenceState::Carry carry = chunk.state->carry(layer_);
  /// Input number i of the chunk, which may lie before it.
  const auto input = [&](std::size_t i) {
    return i < held ? carry.before.data() + i * channels_
                    : mixed.data() + (chunk.first_row + i - held) * channels_;
  };
  std::vector<const float*> window(kernel_);
  for (std::size_t t = 0; t < chunk.count; ++t) {
    for (std::size_t i = 0; i < kernel_; ++i) window[i] = input(t + i);
    weigh_taps(window.data(), taps_.data(), kernel_, channels_,
               out.data() + (chunk.first_row + t) * channels_);
  }
  for (std::size_t i = 0; i < held; ++i)
    std::copy_n(input(chunk.count + i), channels_, carry.after.data() + i * channels_);
}

void DeltaNet::normalise_keys(std::span<float> mixed, std::size_t tokens) const {
  const float scale = 1.0f / std::sqrt(static_cast<float>(key_dim_));
  for (std::size_t token = 0; token < tokens; ++token) {
    float* row = mixed.data() + token * channels_;
    for (std::size_t head = 0; head < key_heads_; ++head) {
      normalise_l2(row + head * key_dim_, key_dim_, scale);
      normalise_l2(row + (key_heads_ + head) * key_dim_, key_dim_, 1.0f);
    }
  }
}

/// One value head of one chunk, token by token.
void DeltaNet::recur(const BatchChunk& chunk, std::size_t head, std::span<const float> mixed,
                     const Projected& projected, std::span<float> out) const {
  const SequenceState::Carry carry = chunk.state->carry(layer_);
  const std::size_t offset = (kernel_ - 1) * channels_ + head * value_dim_ * key_dim_;
  float* state = carry.after.data() + offset;
  std::copy_n(carry.before.data() + offset, value_dim_ * key_dim_, state);
  const std::size_t key_head = head / (value_heads_ / key_heads_);
  for (std::size_t t = 0; t < chunk.count; ++t) {
    const std::size_t row = chunk.first_row + t;
    const float* q = mixed.data() + row * channels_ + key_head * key_dim_;
    const float* v = mixed.data() + row * channels_ + 2 * key_heads_ * key_dim_ + head * value_dim_;
    const std::size_t at = row * value_heads_ + head;
    step_state(state, value_dim_, key_dim_, q, q + key_heads_ * key_dim_, v, projected.decay.data()[at],
               projected.beta.data()[at], out.data() + row * values_ + head * value_dim_);
  }
}

void DeltaNet::forward(const Batch& batch, std::span<const float> x, std::span<float> out) const {
  const std::size_t tokens = batch.tokens;
  const Projected projected = project(x, tokens);
  FloatBuffer mixed(tokens * channels_), answers(tokens * values_);
  for_each_task(batch.chunks.size(), tokens * channels_ * kernel_,
                [&](std::size_t i) { convolve(batch.chunks[i], projected.mixed, mixed); });
  silu(mixed);
  normalise_keys(mixed, tokens);
  for_each_task(batch.chunks.size() * value_heads_, 4 * tokens * values_ * key_dim_, [&](std::size_t i) {
    recur(batch.chunks[i / value_heads_], i % value_heads_, mixed, projected, answers);
  });
  rms_norm(answers, norm_, epsilon_, answers);
  // silu(z) * answer
  FloatBuffer gated(tokens * values_);
  std::copy_n(projected.gate.data(), gated.size(), gated.data());
  silu_multiply(gated, answers);
  output_.forward(gated, tokens, out);
}

}  // namespace assay
