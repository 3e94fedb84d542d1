#include "assay/kernels/cpu/elementwise.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "assay/formats/multiversion.h"
#include "assay/kernels/exponential.h"
#include "assay/parallel/threads.h"

namespace assay {

namespace {

// Values per task: big enough to hide the cost of a task, small enough to stay in a core's cache.
constexpr std::size_t kTaskValues = 1 << 14;

/// body(first, count) over [0, total) in runs that are multiples of `unit`.
template <class Body>
void for_each_run(std::size_t total, std::size_t unit, const Body& body) {
  const std::size_t run = std::max<std::size_t>(1, kTaskValues / unit) * unit;
  if (total <= run) {
    if (total > 0) body(0, total);
    return;
  }
  parallel_for((total + run - 1) / run,
               [&](std::size_t task) { body(task * run, std::min(run, total - task * run)); });
}

// Reductions keep this many independent running values: compilers vectorise them, and the order is fixed.
constexpr std::size_t kLanes = 16;

ASSAY_LOOP double sum_of_squares_loop(std::span<const float> values) {
  double lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j)
      lanes[j] += static_cast<double>(values[i + j]) * static_cast<double>(values[i + j]);
  double total = 0;
  for (; i < values.size(); ++i) total += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  for (const double lane : lanes) total += lane;
  return total;
}
constexpr Multiversion<sum_of_squares_loop> sum_of_squares;

ASSAY_LOOP float maximum_of_loop(std::span<const float> values) {
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, -std::numeric_limits<float>::infinity());
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j) lanes[j] = lanes[j] < values[i + j] ? values[i + j] : lanes[j];
  float maximum = -std::numeric_limits<float>::infinity();
  for (; i < values.size(); ++i) maximum = std::max(maximum, values[i]);
  for (const float lane : lanes) maximum = std::max(maximum, lane);
  return maximum;
}
constexpr Multiversion<maximum_of_loop> maximum_of;

/// values = exp((value - maximum) * scale); returns their sum.
ASSAY_LOOP float exponentials_loop(std::span<float> values, float maximum, float scale) {
  float lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (std::size_t j = 0; j < kLanes; ++j) {
      const float value = exp_inline((values[i + j] - maximum) * scale);
      values[i + j] = value;
      lanes[j] += value;
    }
  }
  float total = 0;
  for (; i < values.size(); ++i) total += values[i] = exp_inline((values[i] - maximum) * scale);
  for (const float lane : lanes) total += lane;
  return total;
}
constexpr Multiversion<exponentials_loop> exponentials;

ASSAY_LOOP void scale_by_loop(std::span<float> values, float factor) {
  for (float& value : values) value *= factor;
}
constexpr Multiversion<scale_by_loop> scale_by;

ASSAY_LOOP void normalise_loop(std::span<const float> x, float factor, std::span<const float> weight,
                               std::span<float> out) {
  for (std::size_t i = 0; i < weight.size(); ++i) out[i] = x[i] * factor * weight[i];
}
constexpr Multiversion<normalise_loop> normalise;

ASSAY_LOOP void add_to_loop(std::span<float> x, std::span<const float> y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}
constexpr Multiversion<add_to_loop> add_to;

ASSAY_LOOP void gate_by_loop(std::span<float> gate, std::span<const float> up) {
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1.0f + exp_inline(-gate[i])) * up[i];
}
constexpr Multiversion<gate_by_loop> gate_by;

ASSAY_LOOP void apply_silu_loop(std::span<float> x) {
  for (float& value : x) value = value / (1.0f + exp_inline(-value));
}
constexpr Multiversion<apply_silu_loop> apply_silu;

ASSAY_LOOP void multiply_by_sigmoid_loop(std::span<float> x, std::span<const float> gate) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = x[i] / (1.0f + exp_inline(-gate[i]));
}
constexpr Multiversion<multiply_by_sigmoid_loop> multiply_by_sigmoid;

}  // namespace

float fast_exp(float x) {
  return exp_inline(x);
}

void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon, std::span<float> out) {
  const std::size_t width = weight.size();
  assert(width > 0 && x.size() % width == 0 && out.size() == x.size());
  for_each_run(x.size(), width, [&](std::size_t first, std::size_t count) {
    for (std::size_t row = first; row < first + count; row += width) {
      const double total = sum_of_squares(x.subspan(row, width));
      const auto factor = static_cast<float>(1.0 / std::sqrt(total / static_cast<double>(width) + epsilon));
      normalise(x.subspan(row, width), factor, weight, out.subspan(row, width));
    }
  });
}

void add(std::span<float> x, std::span<const float> y) {
  assert(x.size() == y.size());
  for_each_run(x.size(), 1, [&](std::size_t first, std::size_t count) {
    add_to(x.subspan(first, count), y.subspan(first, count));
  });
}

void add_bias(std::span<float> x, std::span<const float> bias) {
  const std::size_t width = bias.size();
  assert(width > 0 && x.size() % width == 0);
  for_each_run(x.size(), width, [&](std::size_t first, std::size_t count) {
    for (std::size_t row = first; row < first + count; row += width) add_to(x.subspan(row, width), bias);
  });
}

void silu_multiply(std::span<float> gate, std::span<const float> up) {
  assert(gate.size() == up.size());
  for_each_run(gate.size(), 1, [&](std::size_t first, std::size_t count) {
    gate_by(gate.subspan(first, count), up.subspan(first, count));
  });
}

void silu(std::span<float> x) {
  for_each_run(x.size(), 1,
               [&](std::size_t first, std::size_t count) { apply_silu(x.subspan(first, count)); });
}

void sigmoid_multiply(std::span<float> x, std::span<const float> gate) {
  assert(x.size() == gate.size());
  for_each_run(x.size(), 1, [&](std::size_t first, std::size_t count) {
    multiply_by_sigmoid(x.subspan(first, count), gate.subspan(first, count));
  });
}

void scaled_softmax(std::span<float> values, float scale) {
  const float factor = 1.0f / exponentials(values, maximum_of(values), scale);
  scale_by(values, factor);
}

}  // namespace assay
