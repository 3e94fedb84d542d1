#pragma once
// What the format tests share: value generators, and a matrix encoded and packed through the Format interface
// alone.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "tests/support.h"

namespace assay::test {

/// The value generator of the golden vectors: multiples of 1/4, exact in bf16 and f16.
inline std::vector<float> seeded(int seed, std::size_t n) {
  std::vector<float> values(n);
  for (std::size_t i = 0; i < n; ++i)
    values[i] = static_cast<float>((37 * static_cast<int>(i) + 13 * seed) % 200 - 100) / 4.0f;
  return values;
}

inline std::vector<float> gaussian(std::size_t n, unsigned seed, float sigma = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, sigma);
  std::vector<float> values(n);
  for (float& value : values) value = normal(generator);
  return values;
}

struct Encoded {
  std::vector<Params> params;
  std::vector<Code> codes;
};

/// Room for a matrix: units * run codes (pads included) and the units' parameters.
inline Encoded room_for(const Format& format, std::size_t weights, std::size_t columns) {
  const Layout layout = format.layout(columns);
  const std::size_t units = unit_count(layout, weights / columns, columns);
  return {std::vector<Params>(layout.has_params ? units : 0), std::vector<Code>(units * layout.run)};
}

inline Encoded encode(const Format& format, const std::vector<float>& weights, std::size_t columns) {
  Encoded encoded = room_for(format, weights.size(), columns);
  format.reference(weights, encoded.params, encoded.codes);
  return encoded;
}

inline std::vector<float> decode(const Format& format, const Encoded& encoded, std::size_t n) {
  std::vector<float> out(n);
  format.decode(encoded.params, encoded.codes, out);
  return out;
}

using PlaneBytes = std::vector<std::vector<std::byte>>;

inline PlaneBytes pack(const Format& format, const Encoded& encoded, std::size_t columns) {
  const Layout layout = format.layout(columns);
  const std::size_t units = encoded.codes.size() / layout.run;
  PlaneBytes planes;
  std::vector<MutableBytes> views;
  for (const Plane& plane : layout.planes) planes.emplace_back(layout.bytes(plane, units));
  for (auto& plane : planes) views.emplace_back(plane);
  format.pack(encoded.params, encoded.codes, views);
  return planes;
}

inline Encoded unpack(const Format& format, const PlaneBytes& planes, std::size_t weights,
                      std::size_t columns) {
  Encoded encoded = room_for(format, weights, columns);
  const std::vector<Bytes> views(planes.begin(), planes.end());
  format.unpack(views, encoded.params, encoded.codes);
  return encoded;
}

inline std::string hex(const std::vector<std::byte>& bytes) {
  return to_hex({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

inline std::vector<std::byte> bytes_of(std::string_view hex_text) {
  const std::string raw = from_hex(hex_text);
  const auto* first = reinterpret_cast<const std::byte*>(raw.data());
  return {first, first + raw.size()};
}

/// The parameters of every weight, as Format::round wants them.
inline std::vector<Params> per_weight(const Format& format, const Encoded& encoded, std::size_t n,
                                      std::size_t columns) {
  const Layout layout = format.layout(columns);
  std::vector<Params> spread(layout.has_params ? n : 0);
  for (std::size_t i = 0; i < spread.size(); ++i) spread[i] = encoded.params[i / layout.run];
  return spread;
}

inline bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

/// Runs `check` on every format of the table that `wanted` accepts, naming it in failures.
inline void for_each_format(const std::function<bool(const Format&)>& wanted,
                            const std::function<void(const Format&)>& check) {
  int checked = 0;
  for (const FormatPtr& format : all_formats()) {
    if (!wanted(*format)) continue;
    SCOPED_TRACE(format->name());
    check(*format);
    ++checked;
  }
  EXPECT_GT(checked, 0) << "no format of this kind is in the table";
}

inline bool encodes(const Format& format) {
  return format.can_encode();
}
inline bool has_params(const Format& format) {
  return format.layout(128).has_params;
}
inline bool is_affine(const Format& format) {
  return format.affine().has_value();
}

}  // namespace assay::test
