#include "assay/kernels/cpu/delta_rule.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "assay/formats/multiversion.h"
#include "assay/kernels/host_layer_state.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/tasks.h"

namespace assay::cpu {
namespace {

/// log(1 + exp(x)), for large x too.
float softplus(float x) {
  return x > 20 ? x : std::log1p(std::exp(x));
}

/// One value head over one token. `rows` of S [value_dim, key_dim] each decay, take up, and answer.
ASSAY_LOOP void step_state_loop(float* state, std::size_t rows, std::size_t width, const float* query,
                                const float* key, const float* value, float decay, float beta, float* out) {
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
constexpr Multiversion<step_state_loop> step_state;

/// out[c] = sum of taps[i][c] * inputs[i][c].
ASSAY_LOOP void weigh_taps_loop(const float* const* inputs, const float* taps, std::size_t kernel,
                                std::size_t channels, float* out) {
  std::fill_n(out, channels, 0.0f);
  for (std::size_t i = 0; i < kernel; ++i) {
    const float* input = inputs[i];
    const float* tap = taps + i * channels;
    for (std::size_t c = 0; c < channels; ++c) out[c] += tap[c] * input[c];
  }
}
constexpr Multiversion<weigh_taps_loop> weigh_taps;

/// The causal convolution of one chunk; leaves the last inputs behind for the next.
void convolve(const LayerChunk& chunk, const DeltaShape& shape, const float* taps, const float* x,
              float* out) {
  const std::size_t held = shape.kernel - 1, channels = shape.channels();
  HostLayerState<float>& state = host_state<float>(chunk);
  /// Input number i of the chunk, which may lie before it.
  const auto input = [&](std::size_t i) {
    return i < held ? state.before() + i * channels : x + (chunk.first_row + i - held) * channels;
  };
  thread_local std::vector<const float*> window;
  window.resize(shape.kernel);
  for (std::size_t t = 0; t < chunk.count; ++t) {
    for (std::size_t i = 0; i < shape.kernel; ++i) window[i] = input(t + i);
    weigh_taps(window.data(), taps, shape.kernel, channels, out + (chunk.first_row + t) * channels);
  }
  for (std::size_t i = 0; i < held; ++i)
    std::copy_n(input(chunk.count + i), channels, state.after() + i * channels);
}

}  // namespace

void causal_convolution(std::span<const LayerChunk> chunks, const DeltaShape& shape,
                        std::span<const float> taps, const Rows& x, const Rows& out) {
  for_each_task(chunks.size(), x.count() * shape.channels() * shape.kernel, [&](std::size_t i) {
    convolve(chunks[i], shape, taps.data(), host_values<float>(x).data(), host_values<float>(out).data());
  });
}

void delta_gates(const Rows& beta, const Rows& decay, std::span<const float> rate,
                 std::span<const float> bias) {
  const std::span<float> betas = host_values<float>(beta), decays = host_values<float>(decay);
  const std::size_t heads = rate.size();
  thread_local std::vector<float> rates;
  rates.resize(heads);
  std::ranges::transform(rate, rates.begin(), [](float value) { return std::exp(value); });
  for (std::size_t i = 0; i < betas.size(); ++i) {
    const std::size_t head = i % heads;
    betas[i] = 1.0f / (1.0f + std::exp(-betas[i]));
    decays[i] = std::exp(-rates[head] * softplus(decays[i] + bias[head]));
  }
}

void delta_rule(std::span<const LayerChunk> chunks, const DeltaShape& shape, const Rows& mixed,
                const Rows& beta, const Rows& decay, const Rows& out) {
  const float* inputs = host_values<float>(mixed).data();
  const std::size_t heads = shape.value_heads, channels = shape.channels(),
                    size = shape.value_dim * shape.key_dim;
  // One value head of one chunk, token by token.
  const auto recur = [&](const LayerChunk& chunk, std::size_t head) {
    HostLayerState<float>& carried = host_state<float>(chunk);
    const std::size_t offset = (shape.kernel - 1) * channels + head * size;
    float* state = carried.after() + offset;
    std::copy_n(carried.before() + offset, size, state);
    const std::size_t key_head = head / (heads / shape.key_heads);
    for (std::size_t t = 0; t < chunk.count; ++t) {
      const std::size_t row = chunk.first_row + t, at = row * heads + head;
      const float* q = inputs + row * channels + key_head * shape.key_dim;
      const float* v = inputs + row * channels + 2 * shape.key_heads * shape.key_dim + head * shape.value_dim;
      step_state(state, shape.value_dim, shape.key_dim, q, q + shape.key_heads * shape.key_dim, v,
                 host_values<float>(decay)[at], host_values<float>(beta)[at],
                 host_values<float>(out).data() + row * shape.values() + head * shape.value_dim);
    }
  };
  for_each_task(chunks.size() * heads, 4 * mixed.count() * shape.values() * shape.key_dim,
                [&](std::size_t i) { recur(chunks[i / heads], i % heads); });
}

}  // namespace assay::cpu
