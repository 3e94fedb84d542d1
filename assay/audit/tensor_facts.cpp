#include "assay/audit/tensor_facts.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <unordered_set>

#include "assay/base/error.h"
#include "assay/parallel/threads.h"
#include "assay/storage/tensor_blocks.h"

namespace assay {
namespace {

constexpr double kWildOctaves = 8;
constexpr double kSmallestHalf = 0x1p-24;  // of f16's subnormals: what is smaller may round to zero
constexpr std::size_t kCodeBins = 256;     // codes are counted modulo this

/// Counts of a quantity on a logarithmic grid, for medians without keeping every value.
class LogHistogram {
 public:
  void add(double value) { ++bins_[bin(value)]; }
  void add(const LogHistogram& other) {
    for (std::size_t i = 0; i < bins_.size(); ++i) bins_[i] += other.bins_[i];
  }
  std::uint64_t total() const {
    std::uint64_t sum = 0;
    for (const std::uint64_t count : bins_) sum += count;
    return sum;
  }
  double median() const {
    const std::uint64_t half = total() / 2;
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < bins_.size(); ++i)
      if ((seen += bins_[i]) > half) return std::exp2(octave(i));
    return 0;
  }
  /// Share of values more than `octaves` off the median.
  double share_beyond(double octaves) const {
    if (total() == 0) return 0;
    const double middle = std::log2(median());
    std::uint64_t beyond = 0;
    for (std::size_t i = 0; i < bins_.size(); ++i)
      if (std::abs(octave(i) - middle) > octaves) beyond += bins_[i];
    return static_cast<double>(beyond) / static_cast<double>(total());
  }

 private:
  static constexpr double kLowest = -160, kStepsPerOctave = 4;
  static double octave(std::size_t bin) { return kLowest + static_cast<double>(bin) / kStepsPerOctave; }
  static std::size_t bin(double value) {
    const double at = (std::log2(value) - kLowest) * kStepsPerOctave;
    return static_cast<std::size_t>(std::clamp(at, 0.0, 1279.0));
  }
  std::array<std::uint64_t, 1280> bins_{};
};

using CodeCounts = std::array<std::uint64_t, kCodeBins>;

/// Less what chance alone would make of counts so small.
double total_variation(const CodeCounts& a, const CodeCounts& b) {
  double all_a = 0, all_b = 0, distance = 0, bins = 0;
  for (std::size_t i = 0; i < kCodeBins; ++i) {
    all_a += static_cast<double>(a[i]);
    all_b += static_cast<double>(b[i]);
    bins += a[i] + b[i] > 0;
  }
  if (all_a == 0 || all_b == 0) return 0;
  for (std::size_t i = 0; i < kCodeBins; ++i)
    distance += std::abs(static_cast<double>(a[i]) / all_a - static_cast<double>(b[i]) / all_b);
  return std::max(0.0, distance / 2 - std::sqrt(bins / (all_a + all_b)));
}

/// What a thread sees of a tensor.
struct Tally {
  double squares = 0, largest = 0;
  std::uint64_t not_finite = 0, units = 0, constant_units = 0, zero_units = 0, zero_scales = 0;
  LogHistogram off_centre, scales;
  CodeCounts even{}, odd{};

  void add(const Tally& other) {
    squares += other.squares;
    largest = std::max(largest, other.largest);
    not_finite += other.not_finite;
    units += other.units;
    constant_units += other.constant_units;
    zero_units += other.zero_units;
    zero_scales += other.zero_scales;
    off_centre.add(other.off_centre);
    scales.add(other.scales);
    for (std::size_t i = 0; i < kCodeBins; ++i) {
      even[i] += other.even[i];
      odd[i] += other.odd[i];
    }
  }
};

/// 0 for a row of zeros.
std::uint64_t hash_row(std::span<const float> row) {
  std::uint64_t hash = 0x9e3779b97f4a7c15u;
  bool any = false;
  for (const float value : row) {
    any |= value != 0;
    hash = (hash ^ std::bit_cast<std::uint32_t>(value == 0 ? 0.0f : value)) * 0x100000001b3u;
    hash ^= hash >> 29;
  }
  return any ? hash | 1 : 0;
}

void tally_weights(std::span<const float> weights, Tally& tally) {
  for (const float weight : weights) {
    if (!std::isfinite(weight)) {
      ++tally.not_finite;
      continue;
    }
    tally.squares += static_cast<double>(weight) * static_cast<double>(weight);
    tally.largest = std::max(tally.largest, std::abs(static_cast<double>(weight)));
  }
}

/// Units of a block: their weights, scales and codes. Those inside of rows of zeros are left out: such rows
/// are a matter of their own.
void tally_units(std::span<const float> weights, const UnitBuffer& buffer, std::size_t run,
                 std::uint64_t first, std::span<const std::uint64_t> rows, std::uint64_t columns,
                 Tally& tally) {
  for (std::size_t u = 0; u < buffer.params.size(); ++u) {
    const auto part = weights.subspan(u * run, std::min(run, weights.size() - u * run));
    const std::size_t first_row = u * run / columns, last_row = (u * run + part.size() - 1) / columns;
    if (std::ranges::all_of(rows.subspan(first_row, last_row + 1 - first_row), std::logical_not())) continue;
    double sum = 0, squares = 0;
    for (const float weight : part) {
      sum += static_cast<double>(weight);
      squares += static_cast<double>(weight) * static_cast<double>(weight);
    }
    const auto count = static_cast<double>(part.size());
    const double mean = sum / count, variance = std::max(0.0, squares / count - mean * mean);
    const std::span<const Code> codes = std::span(buffer.codes).subspan(u * run, part.size());
    ++tally.units;
    tally.zero_units += squares == 0;
    const double scale = std::abs(static_cast<double>(buffer.params[u].scale));
    if (scale == 0) {
      ++tally.zero_scales;
    } else {
      tally.scales.add(scale);
      if (part.size() > 1 && std::ranges::all_of(codes, [&](Code code) { return code == codes[0]; }))
        ++tally.constant_units;
      else if (variance > 0)
        tally.off_centre.add(std::abs(mean) / std::sqrt(variance));
    }
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const std::uint64_t column = (first + u * run + i) % columns;
      ++(column % 2 == 0 ? tally.even : tally.odd)[static_cast<std::uint32_t>(codes[i]) % kCodeBins];
    }
  }
}

/// Figures of the code histograms. Few codes give no figure: chance alone would show.
void judge_codes(const Tally& tally, TensorFacts& facts) {
  constexpr double kFewestCodes = 4096;
  CodeCounts all{}, low{}, high{}, uniform{};
  double total = 0;
  for (std::size_t i = 0; i < kCodeBins; ++i) {
    all[i] = tally.even[i] + tally.odd[i];
    total += static_cast<double>(all[i]);
    low[i % 16] += all[i];
    high[i / 16] += all[i];
    if (i < 16) uniform[i] = std::uint64_t{1} << 40;  // known, not counted
  }
  if (total < kFewestCodes) return;
  facts.parity = total_variation(tally.even, tally.odd);
  const auto used = [&](std::size_t i) { return all[i] > 0; };
  // Signed codes wrap around: the largest is the last below the middle.
  std::vector<std::size_t> seen;
  for (std::size_t i = 0; i < kCodeBins; ++i)
    if (used((i + kCodeBins / 2) % kCodeBins)) seen.push_back((i + kCodeBins / 2) % kCodeBins);
  const bool is_signed = all[kCodeBins - 1] > 0;
  if (!is_signed) std::ranges::sort(seen);
  const std::uint64_t extreme = all[seen.front()] + (seen.size() > 1 ? all[seen.back()] : 0);
  facts.extreme_codes = static_cast<double>(extreme) / total;
  if (seen.size() > 64) {
    facts.nibble_bias = total_variation(low, uniform);
    facts.nibble_likeness = total_variation(low, high);
  }
}

std::uint64_t combine(std::span<const std::uint64_t> rows) {
  std::uint64_t hash = 0;
  bool any = false;
  for (const std::uint64_t row : rows) {
    any |= row != 0;
    hash = (hash ^ row) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 31;
  }
  return any ? hash | 1 : 0;
}

double upper_median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

/// Collects what is seen of a tensor block by block, whoever made the weights.
class FactCollector {
 public:
  FactCollector(const Format& format, const Shape& shape, std::size_t blocks)
      : shape_(shape),
        matrix_(as_matrix(shape)),
        layout_(format.layout(matrix_.columns)),
        tallies_(blocks),
        rows_(matrix_.rows) {}

  /// Blocks may come in any order and at the same time. `buffer` may be null: no figures of units then, but
  /// for those of zeros.
  void add(std::size_t index, const RowBlock& block, std::span<const float> weights,
           const UnitBuffer* buffer) {
    Tally& tally = tallies_[index];
    const std::span rows = std::span(rows_).subspan(block.first_row, block.rows);
    for (std::uint64_t r = 0; r < block.rows; ++r)
      rows[r] = hash_row(weights.subspan(r * matrix_.columns, matrix_.columns));
    tally_weights(weights, tally);
    if (!layout_.has_params) return;
    if (buffer != nullptr)
      tally_units(weights, *buffer, layout_.run, block.first_unit * layout_.run, rows, matrix_.columns,
                  tally);
    else
      tally_zero_units(weights, rows, tally);
  }

  TensorFacts finish() const {
    Tally all;
    for (const Tally& tally : tallies_) all.add(tally);
    TensorFacts facts;
    facts.rows = matrix_.rows;
    facts.columns = matrix_.columns;
    const double count = static_cast<double>(matrix_.rows) * static_cast<double>(matrix_.columns);
    facts.rms = std::sqrt(all.squares / std::max(1.0, count));
    facts.largest = all.largest;
    facts.not_finite = all.not_finite;
    add_rows(facts);
    if (all.units == 0) return facts;
    const auto units = static_cast<double>(all.units);
    facts.zero_units = static_cast<double>(all.zero_units) / units;
    if (all.scales.total() + all.zero_scales == 0) return facts;  // never saw a parameter
    facts.units = all.units;
    facts.off_centre = all.off_centre.median();
    facts.wild_scales = all.scales.share_beyond(kWildOctaves);
    facts.constant_units = static_cast<double>(all.constant_units) / units;
    facts.zero_scales = static_cast<double>(all.zero_scales) / units;
    judge_codes(all, facts);
    return facts;
  }

 private:
  void tally_zero_units(std::span<const float> weights, std::span<const std::uint64_t> rows,
                        Tally& tally) const {
    const std::size_t run = layout_.share == Share::row ? matrix_.columns : layout_.run;
    for (std::size_t at = 0; at < weights.size(); at += run) {
      const auto part = weights.subspan(at, std::min(run, weights.size() - at));
      const bool zero = std::ranges::all_of(part, [](float weight) { return weight == 0; });
      if (zero && rows[at / matrix_.columns] == 0) continue;
      ++tally.units;
      tally.zero_units += zero;
    }
  }
  void add_rows(TensorFacts& facts) const {
    std::unordered_set<std::uint64_t> seen;
    for (std::uint64_t r = 0; r < rows_.size(); ++r) {
      if (rows_[r] == 0)
        facts.zero_rows.push_back(r);
      else
        facts.repeated_rows += !seen.insert(rows_[r]).second;
    }
    const bool stacked = shape_.size() == 3 && shape_[1] > 1 && matrix_.rows > 0;
    const std::uint64_t matrices = stacked ? shape_[0] : 1, each = matrix_.rows / matrices;
    for (std::uint64_t m = 0; m < matrices; ++m)
      facts.matrices.push_back(combine(std::span(rows_).subspan(m * each, each)));
  }

  Shape shape_;
  MatrixShape matrix_;
  Layout layout_;
  std::vector<Tally> tallies_;
  std::vector<std::uint64_t> rows_;  // hashes
};

}  // namespace

TensorFacts gather_facts(const Tensor& tensor) {
  if (tensor.format == nullptr)
    fail("{}: tensor {}: stored as {}, which is no weight format", tensor.file, tensor.name,
         dtype_name(tensor.dtype));
  const MatrixShape shape = as_matrix(tensor.shape);
  const Layout layout = tensor.format->layout(shape.columns);
  const auto blocks = row_blocks(*tensor.format, shape);
  FactCollector collector(*tensor.format, tensor.shape, blocks.size());
  parallel_for(blocks.size(), [&](std::size_t b) {
    UnitBuffer buffer(layout, blocks[b].units);
    read_units(tensor, blocks[b], buffer);
    std::vector<float> weights(blocks[b].rows * shape.columns);
    tensor.format->decode(buffer.params, buffer.codes, weights);
    collector.add(b, blocks[b], weights, &buffer);
  });
  return collector.finish();
}

namespace {

/// Stored weights beside the original's, and plain rounding's (empty: a format that is only read).
struct Beside {
  std::span<const float> stored, truth, plain;
};

struct Sums {
  double difference = 0, original = 0, stored = 0, product = 0, plain = 0;
  std::uint64_t changed = 0, flushed = 0;

  void add(const Beside& rows) {
    for (std::size_t i = 0; i < rows.truth.size(); ++i) {
      const double a = rows.stored[i], t = rows.truth[i];
      difference += (a - t) * (a - t);
      original += t * t;
      stored += a * a;
      product += a * t;
      if (!rows.plain.empty()) {
        const double p = rows.plain[i];
        plain += (p - t) * (p - t);
      }
      changed += rows.stored[i] != rows.truth[i];
      flushed += a == 0 && std::abs(t) > kSmallestHalf;
    }
  }
  void add(const Sums& more) {
    difference += more.difference;
    original += more.original;
    stored += more.stored;
    product += more.product;
    plain += more.plain;
    changed += more.changed;
    flushed += more.flushed;
  }
  /// Of one row.
  double relative(double squared) const {
    return squared == 0    ? 0
           : original == 0 ? std::numeric_limits<double>::infinity()
                           : std::sqrt(squared / original);
  }
};

}  // namespace

ComparedFacts compare_facts(const Tensor& tensor, const Tensor& original) {
  const MatrixShape shape = as_matrix(tensor.shape);
  const Layout layout = tensor.format->layout(shape.columns);
  const auto blocks = row_blocks(*tensor.format, shape);
  const bool can_round = tensor.format->can_encode();
  std::vector<Sums> sums(blocks.size());
  std::vector<double> errors(shape.rows), plain_errors(shape.rows);
  FactCollector collector(*tensor.format, tensor.shape, blocks.size());
  parallel_for(blocks.size(), [&](std::size_t b) {
    const RowBlock& block = blocks[b];
    std::vector<float> truth(block.rows * shape.columns), stored(truth.size());
    std::vector<float> plain(can_round ? truth.size() : 0);
    decode_rows(original, block.first_row, block.rows, truth);
    decode_rows(tensor, block.first_row, block.rows, stored);
    UnitBuffer buffer(layout, can_round ? block.units : 0);
    if (can_round) {
      try {
        tensor.format->reference(truth, buffer.params, buffer.codes);
      } catch (const Error& problem) {
        fail("{}: tensor {}: {}", original.file, original.name, problem.what());
      }
      tensor.format->decode(buffer.params, buffer.codes, plain);
    }
    collector.add(b, block, can_round ? plain : truth, can_round ? &buffer : nullptr);
    for (std::uint64_t r = 0; r < block.rows; ++r) {
      const auto row = [&](const std::vector<float>& values) {
        return values.empty() ? std::span<const float>()
                              : std::span(values).subspan(r * shape.columns, shape.columns);
      };
      Sums sum;
      sum.add({row(stored), row(truth), row(plain)});
      errors[block.first_row + r] = sum.relative(sum.difference);
      plain_errors[block.first_row + r] = sum.relative(sum.plain);
      sums[b].add(sum);
    }
  });
  Sums all;
  for (const Sums& sum : sums) all.add(sum);
  ComparedFacts facts;
  const auto relative = [&](double squared) {  // finite, for JSON
    return squared == 0 ? 0 : std::sqrt(squared / std::max(all.original, std::numeric_limits<double>::min()));
  };
  facts.relative_rms = relative(all.difference);
  facts.plain_relative_rms = can_round ? relative(all.plain) : std::nan("");
  if (all.original > 0) {
    facts.gain = all.product / all.original;
    facts.cosine = all.stored > 0 ? all.product / std::sqrt(all.original * all.stored) : 0;
  }
  facts.changed = all.changed;
  facts.flushed = all.flushed;
  facts.plain = collector.finish();
  facts.median_row_relative_rms = upper_median(errors);
  double worst = -1;
  for (std::uint64_t r = 0; r < errors.size(); ++r) {
    const double usual = std::max(
        {facts.median_row_relative_rms, plain_errors[r], can_round ? facts.plain_relative_rms : 0.0, 1e-9});
    const double excess = std::isinf(usual) ? 0 : errors[r] / usual;
    if (excess <= worst) continue;
    worst = excess;
    facts.worst_row = r;
    facts.worst_row_relative_rms = errors[r];
    facts.worst_row_plain = plain_errors[r];
  }
  return facts;
}

}  // namespace assay
