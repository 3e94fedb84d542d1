#pragma once
// Speed that survives a shared machine: decode by slope (start-up and prefill cancel), models interleaved A B
// B A (drift cancels), ratios with an interval from the quads, and the floor that memory sets.
// NUMERICS 10.1, 10.2.
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "assay/measure/statistics.h"
#include "assay/runtime/session.h"

namespace assay {

double median(std::vector<double> values);

/// (n2 - n1) / (median T(n2) - median T(n1)): tokens a second without what every run pays once. Throws Error
/// when the longer run was not slower: not measurable.
double slope_rate(std::size_t n1, std::span<const double> seconds1, std::size_t n2,
                  std::span<const double> seconds2);

/// One A B B A round: rates (higher is faster).
struct AbbaQuad {
  double a1 = 0, b1 = 0, b2 = 0, a2 = 0;
};
/// Speed of B over A: sqrt(b1 b2 / (a1 a2)).
double abba_ratio(const AbbaQuad& quad);

struct SpeedRatio {
  double ratio = 1;                  // geometric mean over quads
  std::optional<Interval> interval;  // 95 %, t over the quads' logs; needs two
};
SpeedRatio combine_quads(std::span<const AbbaQuad> quads);

struct SpeedOptions {
  std::size_t first_tokens = 64, second_tokens = 128;  // decoded in the short and in the long run
  std::size_t prompt_tokens = 32;                      // before decoding
  std::size_t prefill_tokens = 512;
  std::size_t repeats = 5;  // of the slope; quads when several models are compared
};

/// Seconds that decoding `tokens` takes, prefill of the prompt included.
using DecodeTimer = std::function<double(std::size_t tokens)>;

/// A figure and its 95 % bootstrap interval over repeats; none below four of them.
struct Measured {
  double value = 0;
  std::optional<Interval> interval;
};

/// One repeat: a short run and a long one, and what memory gave beside them.
struct DecodeSample {
  double first = 0, second = 0;  // seconds
  double bandwidth = 0;          // bytes a second read
};
/// `repeats` of them. `bandwidth` measures bytes a second.
std::vector<DecodeSample> sample_decode(const DecodeTimer& timer, const std::function<double()>& bandwidth,
                                        const SpeedOptions& options);
/// Tokens a second by slope, from the medians of the samples. Throws Error where it is not measurable.
Measured decode_rate(std::span<const DecodeSample> samples, const SpeedOptions& options);
/// What decoding read, `bytes` a token, over what memory gives.
Measured roof_share(std::span<const DecodeSample> samples, std::uint64_t bytes, const SpeedOptions& options);
/// The median of values.
Measured median_of(std::span<const double> values);

/// Quads of single-pair slopes, A B B A each.
std::vector<AbbaQuad> measure_quads(const DecodeTimer& a, const DecodeTimer& b, const SpeedOptions& options);

/// The timer of a model: greedy decoding through its KV cache, never stopping early.
DecodeTimer decode_timer(const Model& model, const SpeedOptions& options);
/// Tokens a second of each prefill, one to warm up apart.
std::vector<double> measure_prefills(const Model& model, const SpeedOptions& options);

/// Bytes that decoding one token must read: every matrix as stored (a tied head in full, one row of the
/// embedding) and the keys and values of `context` positions.
std::uint64_t decode_bytes_per_token(const LoadedModel& loaded, std::size_t context);

}  // namespace assay
