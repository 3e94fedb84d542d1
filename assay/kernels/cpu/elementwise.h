#pragma once
// The small float32 operations between the matrix products, over rows, on all threads.
#include <cstddef>
#include <span>

namespace assay {

/// exp(x) within 2 ulp, written so that compilers vectorise loops over it. Below -87 it gives the smallest
/// normal number, above 88 the value at 88: no infinities, no denormals. NaN stays NaN.
float fast_exp(float x);

/// out = x * rsqrt(mean(x^2) + epsilon) * weight, each row of weight.size() values on its own. In place is
/// legal.
void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon, std::span<float> out);

/// x += y.
void add(std::span<float> x, std::span<const float> y);

/// Adds bias to every row of x.
void add_bias(std::span<float> x, std::span<const float> bias);

/// gate = silu(gate) * up, silu(v) = v / (1 + exp(-v)).
void silu_multiply(std::span<float> gate, std::span<const float> up);

/// x = silu(x).
void silu(std::span<float> x);

/// x = x * sigmoid(gate).
void sigmoid_multiply(std::span<float> x, std::span<const float> gate);

/// values = softmax(values * scale), the maximum subtracted first.
void scaled_softmax(std::span<float> values, float scale);

}  // namespace assay
