// What every row of the format table must keep, whoever adds it.
#include <algorithm>
#include <cstdlib>
#include <limits>
#include <set>

#include "assay/base/half.h"
#include "tests/formats/format_helpers.h"

namespace assay::test {
namespace {

constexpr std::size_t kColumns = 256;  // whole units of every format
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Rows of different character: spread out, shifted, with outliers, with ties, sparse.
std::vector<float> mixed_weights(unsigned seed) {
  std::vector<float> weights = gaussian(8 * kColumns, seed);
  for (std::size_t i = 0; i < kColumns; ++i) {
    weights[kColumns + i] += 4.0f;
    weights[2 * kColumns + i] -= 4.0f;
    weights[3 * kColumns + i] *= i % 16 == 0 ? 12.0f : 0.2f;
    weights[4 * kColumns + i] = static_cast<float>((37 * i + 13 * seed) % 200) / 4.0f - 25.0f;
    weights[5 * kColumns + i] *= i % 3 == 0 ? 1.0f : 0.0f;
    weights[6 * kColumns + i] *= 0x1p-9f;
  }
  return weights;
}

std::string why_invalid(const Format& format, const Encoded& encoded, std::size_t columns) {
  const std::size_t run = format.layout(columns).run;
  std::string why;
  for (std::size_t unit = 0; unit < encoded.codes.size() / run; ++unit) {
    const Params params = encoded.params.empty() ? Params{} : encoded.params[unit];
    const std::span<const Code> codes = std::span(encoded.codes).subspan(unit * run, run);
    if (!format.valid(params, codes, &why)) return why;
  }
  return "";
}

std::vector<Code> legal_codes(const AffineView& view) {
  std::vector<Code> codes(static_cast<std::size_t>(view.codes));
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = view.first_code + static_cast<Code>(i);
  return codes;
}

/// Parameters that the format can store: ordinary, tiny, large, of both signs, with a bias that dwarfs the
/// scale.
std::vector<Params> stored_params(const Format& format) {
  std::vector<Params> all;
  for (const float scale : {1.0f, 0.37f, 6.1e-5f, 3e-7f, 1e-7f, 61.7f, -0.37f, -2.0f, 0.0078125f})
    for (const float bias : {0.0f, -0.0f, 1.25f, -3.3f, 100.0f, -1e-7f})
      if (const auto params = format.store(scale, bias)) all.push_back(*params);
  return all;
}

TEST(Conformance, NamesAreUniqueAndFound) {
  std::set<std::string> names;
  for (const FormatPtr& format : all_formats()) {
    EXPECT_TRUE(names.insert(format->name()).second) << format->name();
    EXPECT_EQ(find_format(format->name()), format);
    EXPECT_EQ(resolve_format(format->name(), DType::BF16), format);
    EXPECT_FALSE(format->summary().empty());
    EXPECT_EQ(format->summary().find('\n'), std::string::npos);
  }
}

TEST(Conformance, WhatReferenceWritesIsLegalAndSurvivesPacking) {
  for_each_format(encodes, [](const Format& format) {
    const std::vector<float> weights = mixed_weights(1);
    const Encoded encoded = encode(format, weights, kColumns);
    EXPECT_EQ(why_invalid(format, encoded, kColumns), "");
    const PlaneBytes planes = pack(format, encoded, kColumns);
    std::uint64_t bytes = 0;
    for (const auto& plane : planes) bytes += plane.size();
    EXPECT_EQ(packed_bytes(format, 8, kColumns), bytes);

    const Encoded again = unpack(format, planes, weights.size(), kColumns);
    EXPECT_EQ(again.codes, encoded.codes);
    for (std::size_t i = 0; i < encoded.params.size(); ++i) {
      EXPECT_TRUE(same_bits(again.params[i].scale, encoded.params[i].scale))
          << "scale of unit " << i << " is not as stored";
      EXPECT_TRUE(same_bits(again.params[i].bias, encoded.params[i].bias))
          << "bias of unit " << i << " is not as stored";
      EXPECT_EQ(again.params[i].sub, encoded.params[i].sub) << "unit " << i << " is not as stored";
    }
    EXPECT_EQ(pack(format, again, kColumns), planes);
  });
}

TEST(Conformance, UnitsDoNotDependOnTheirNeighbours) {
  for_each_format(encodes, [](const Format& format) {
    const std::vector<float> weights = mixed_weights(2);
    const Encoded whole = encode(format, weights, kColumns);
    const std::vector<float> decoded = decode(format, whole, weights.size());
    const std::size_t units_in_row = whole.params.size() / 8;
    for (std::size_t row = 0; row < 8; ++row) {
      const std::vector<float> one(weights.begin() + row * kColumns, weights.begin() + (row + 1) * kColumns);
      const Encoded alone = encode(format, one, kColumns);
      const std::vector<float> alone_decoded = decode(format, alone, kColumns);
      for (std::size_t i = 0; i < kColumns; ++i) {
        EXPECT_EQ(alone.codes[i], whole.codes[row * kColumns + i]);
        EXPECT_TRUE(same_bits(alone_decoded[i], decoded[row * kColumns + i]));
      }
      for (std::size_t i = 0; i < units_in_row; ++i)
        EXPECT_EQ(alone.params[i].scale, whole.params[row * units_in_row + i].scale);
    }
  });
}

TEST(Conformance, ReferenceErrorIsBounded) {
  for_each_format(is_affine, [](const Format& format) {
    const AffineView view = *format.affine();
    if (format.layout(kColumns).units_per_record > 1) return;  // gguf_superblocks_test.cpp bounds squares
    const bool clips =
        format.name().starts_with("mlx") || format.name() == "q4_0" || format.name() == "khq3-sym";
    const std::vector<float> weights = mixed_weights(3);
    const Encoded encoded = encode(format, weights, kColumns);
    const std::vector<float> decoded = decode(format, encoded, weights.size());
    const std::vector<Params> params = per_weight(format, encoded, weights.size(), kColumns);
    // Storage moves a decoded value by the scale's and the bias's own rounding: 2^-11 for f16, 2^-8 for bf16.
    const double storage = format.name().ends_with("-bf16") ? 0x1p-8 : 0x1p-11;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const double step = std::fabs(params[i].scale);
      const double moved = (step * view.codes + std::fabs(params[i].bias)) * storage + 1e-6;
      const bool inside =
          format.range(params[i]).first <= weights[i] && weights[i] <= format.range(params[i]).second;
      if (!view.searchable && !inside) continue;  // a clip rule cuts as far as it says
      EXPECT_LE(std::fabs(decoded[i] - weights[i]), (clips ? 1.5 : 0.5) * step + moved)
          << "element " << i << ": " << weights[i] << " became " << decoded[i] << ", step " << step;
    }
  });
}

TEST(Conformance, RoundErrorIsHalfAStepInsideTheRange) {
  for_each_format(is_affine, [](const Format& format) {
    const std::vector<float> weights = mixed_weights(4);
    const Encoded encoded = encode(format, weights, kColumns);
    const std::vector<Params> params = per_weight(format, encoded, weights.size(), kColumns);
    std::vector<Code> codes(weights.size());
    std::vector<float> out(weights.size());
    format.round(params, weights, codes, out);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const auto [low, high] = format.range(params[i]);
      const double nearest = std::clamp(weights[i], low, high);
      const double rounding = (std::fabs(nearest) + std::fabs(params[i].bias)) * 0x1p-23;
      EXPECT_LE(std::fabs(out[i] - nearest), 0.5 * std::fabs(params[i].scale) + rounding) << "element " << i;
    }
  });
}

TEST(Conformance, RoundKeepsDecodedValues) {
  for_each_format(encodes, [](const Format& format) {
    const std::vector<float> weights = mixed_weights(5);
    const Encoded encoded = encode(format, weights, kColumns);
    const std::vector<float> decoded = decode(format, encoded, weights.size());
    std::vector<Code> codes(weights.size());
    std::vector<float> out(weights.size());
    format.round(per_weight(format, encoded, weights.size(), kColumns), decoded, codes, out);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      EXPECT_TRUE(same_bits(out[i], decoded[i]))
          << "element " << i << ": " << decoded[i] << " became " << out[i];
      EXPECT_EQ(codes[i], encoded.codes[i]) << "element " << i;
    }
  });
}

TEST(Conformance, RoundKeepsTheValueOfEveryLegalCode) {
  for_each_format(is_affine, [](const Format& format) {
    const std::vector<Code> codes = legal_codes(*format.affine());
    for (const Params& stored : stored_params(format)) {
      const std::vector<Params> params(codes.size(), stored);
      std::vector<float> values(codes.size()), out(codes.size());
      std::vector<Code> rounded(codes.size());
      format.decode({&stored, 1}, codes, values);
      format.round(params, values, rounded, out);
      const bool injective = std::set<float>(values.begin(), values.end()).size() == codes.size();
      for (std::size_t i = 0; i < codes.size(); ++i) {
        EXPECT_TRUE(same_bits(out[i], values[i])) << "code " << codes[i] << ", scale " << stored.scale;
        if (!injective) continue;
        EXPECT_EQ(rounded[i], codes[i]) << "scale " << stored.scale << ", bias " << stored.bias;
      }
    }
  });
}

TEST(Conformance, RoundChoosesTheNearestCodeAndTheLowerOfTwo) {
  for_each_format(is_affine, [](const Format& format) {
    const AffineView view = *format.affine();
    const std::vector<Code> legal = legal_codes(view);
    for (const Params& stored : stored_params(format)) {
      std::vector<float> decoded(legal.size());
      format.decode({&stored, 1}, legal, decoded);
      // Values between, on, beyond and exactly half-way between the decoded ones.
      std::vector<float> values = {0.0f, -0.0f, 1e-30f, 1e30f, -1e30f};
      for (std::size_t i = 0; i < decoded.size(); i += 1 + decoded.size() / 16) {
        const float next = decoded[std::min(i + 1, decoded.size() - 1)];
        values.insert(values.end(), {decoded[i], decoded[i] + stored.scale / 3, (decoded[i] + next) / 2,
                                     std::nextafter((decoded[i] + next) / 2, 1e9f)});
      }
      std::vector<Code> codes(values.size());
      std::vector<float> out(values.size());
      format.round(std::vector<Params>(values.size(), stored), values, codes, out);
      for (std::size_t i = 0; i < values.size(); ++i) {
        std::size_t best = 0;
        const auto [low, high] = format.range(stored);
        const double value = std::clamp(values[i], low, high);  // same nearest code; distances exact
        for (std::size_t c = 1; c < legal.size(); ++c)
          if (std::fabs(value - decoded[c]) < std::fabs(value - decoded[best])) best = c;
        EXPECT_EQ(codes[i], legal[best])
            << "value " << values[i] << ", scale " << stored.scale << ", bias " << stored.bias;
        EXPECT_TRUE(same_bits(out[i], decoded[best]));
      }
    }
  });
}

TEST(Conformance, AScaleOfZeroHasOneCode) {
  const std::pair<const char*, Code> expected[] = {
      {"q4_0", 8}, {"q8_0", 0}, {"q4_1", 0}, {"mlx4-g64-bf16", 0}, {"q4_k", 0}, {"q6_k", 0}, {"iq4_nl", 1}};
  for (const auto& [name, code] : expected) {
    const std::vector<Params> params(3, Params{0.0f, 0.0f});
    const std::vector<float> values = {-1.0f, 0.0f, 1.0f};
    std::vector<Code> codes(3);
    std::vector<float> out(3);
    find_format(name)->round(params, values, codes, out);
    EXPECT_EQ(codes, std::vector<Code>(3, code)) << name;
    EXPECT_EQ(out, std::vector<float>(3, 0.0f)) << name;
  }
}

TEST(Conformance, TailsTakeTheirParametersFromRealElements) {
  const auto is_flat = [](const Format& f) {
    return f.can_encode() && f.layout(1).share == Share::run_flat && f.layout(1).run > 1;
  };
  for_each_format(is_flat, [](const Format& format) {
    const std::size_t run = format.layout(1).run;
    for (const float shift : {0.0f, 5.0f, -5.0f})
      for (std::size_t n = 1; n < run; ++n) {
        std::vector<float> tail = gaussian(n, static_cast<unsigned>(n));
        for (float& value : tail) value += shift;
        const Encoded encoded = encode(format, tail, n);
        // A whole block of the same values repeated has the same extremes.
        std::vector<float> whole = tail;
        while (whole.size() < run) whole.push_back(tail[whole.size() % n]);
        const Encoded full = encode(format, whole, run);
        ASSERT_EQ(encoded.params.size(), 1u);
        EXPECT_EQ(encoded.params[0].scale, full.params[0].scale) << n << " elements";
        EXPECT_EQ(encoded.params[0].bias, full.params[0].bias) << n << " elements";
        EXPECT_TRUE(std::equal(
            tail.begin(), tail.end(), encoded.codes.begin(),
            [&, i = 0](float, Code c) mutable { return c == full.codes[static_cast<std::size_t>(i++)]; }));
        // Pads: 0.0 by the same formula, with the unrounded fit.
        const AffineView view = *format.affine();
        const float low = *std::min_element(tail.begin(), tail.end()),
                    high = *std::max_element(tail.begin(), tail.end());
        float pad =
            std::round(-low * (1.0f / std::max((high - low) / static_cast<float>(view.codes - 1), 1e-30f)));
        if (high == low) pad = std::round(-low);
        if (!view.free_bias) pad = static_cast<float>(view.codes) / 2;
        const Code expected = static_cast<Code>(std::clamp(pad, 0.0f, static_cast<float>(view.codes - 1)));
        for (std::size_t i = n; i < run; ++i)
          EXPECT_EQ(encoded.codes[i], expected) << n << " elements, slot " << i;
        // Decoding writes the real elements and nothing else.
        std::vector<float> out(n + 1, -77.0f);
        format.decode(encoded.params, encoded.codes, std::span(out).first(n));
        EXPECT_EQ(out[n], -77.0f);
      }
  });
}

TEST(Conformance, PartialSymmetricBlocksEqualPaddedOnes) {
  for (const char* name : {"khq4-sym", "khq3-sym"}) {
    const FormatPtr format = find_format(name);
    for (std::size_t n = 1; n < 32; ++n) {
      const std::vector<float> tail = gaussian(n, static_cast<unsigned>(100 + n));
      std::vector<float> padded = tail;
      padded.resize(32, 0.0f);
      EXPECT_EQ(hex(pack(*format, encode(*format, tail, n), n)[0]),
                hex(pack(*format, encode(*format, padded, 32), 32)[0]))
          << name << ", " << n << " elements";
    }
  }
}

TEST(Conformance, DegenerateInputIsLegalOrRefused) {
  const std::vector<std::pair<const char*, std::function<float(std::size_t)>>> inputs = {
      {"zeros", [](std::size_t) { return 0.0f; }},
      {"negative zeros", [](std::size_t) { return -0.0f; }},
      {"zeros of both signs", [](std::size_t i) { return i % 2 == 0 ? 0.0f : -0.0f; }},
      {"constant", [](std::size_t) { return 2.5f; }},
      {"negative constant", [](std::size_t) { return -0.3f; }},
      {"tiny", [](std::size_t i) { return i % 2 == 0 ? 1e-9f : -2e-9f; }},
      {"denormal", [](std::size_t i) { return static_cast<float>(i % 5) * 1e-40f; }},
      {"one denormal", [](std::size_t i) { return i == 7 ? 1e-45f : 0.0f; }},
      {"small f16", [](std::size_t i) { return static_cast<float>(i % 7) * 0x1p-24f; }},
      {"one outlier", [](std::size_t i) { return i == 9 ? 60000.0f : 1e-3f; }},
      {"large", [](std::size_t i) { return i % 2 == 0 ? 3e4f : -3e4f; }},
      {"huge", [](std::size_t i) { return i % 3 == 0 ? 1e30f : -1e30f; }},
      {"whole range", [](std::size_t i) { return i % 2 == 0 ? 3e38f : -3e38f; }},
      {"huge constant", [](std::size_t) { return 3.3e38f; }},
  };
  for_each_format(encodes, [&](const Format& format) {
    for (const auto& [what, value] : inputs) {
      SCOPED_TRACE(what);
      std::vector<float> weights(kColumns);
      for (std::size_t i = 0; i < kColumns; ++i) weights[i] = value(i);
      const float largest = std::fabs(*std::max_element(
          weights.begin(), weights.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); }));
      try {
        const Encoded encoded = encode(format, weights, kColumns);
        EXPECT_EQ(why_invalid(format, encoded, kColumns), "");
        for (const float decoded : decode(format, encoded, kColumns)) {
          // khw3 clips nothing; MLX may lose a step at the far end; gf16 saturates.
          EXPECT_LE(std::fabs(decoded), 1.6f * largest + 1e-6f);
        }
      } catch (const Error& problem) {
        // Only magnitudes that the parameters cannot hold may be refused, and then by element and by reason.
        EXPECT_TRUE(largest >= 3e4f || largest < 1e-6f) << problem.what();
        EXPECT_NE(std::string(problem.what()).find("element"), std::string::npos) << problem.what();
      }
    }
  });
}

TEST(Conformance, ConstantsDecodeToThemselves) {
  for_each_format(is_affine, [](const Format& format) {
    if (!format.affine()->searchable) return;
    for (const float value : {0.0f, 2.5f, -0.5f}) {
      const std::vector<float> weights(kColumns, value);
      const double tolerance = format.name().ends_with("bf16") ? 0x1p-8 : 0x1p-10;
      const double clip =
          format.name() == "khq3-sym" ? 1.0 / 7 : 0.0;  // the published rule clips its maximum
      for (const float decoded : decode(format, encode(format, weights, kColumns), kColumns))
        EXPECT_NEAR(decoded, value, std::fabs(value) * (tolerance + clip));
    }
  });
}

TEST(Conformance, NonFiniteWeightsAreNamed) {
  for_each_format(encodes, [](const Format& format) {
    for (const float bad : {kNan, -kNan, kInfinity, -kInfinity})
      for (const std::size_t at :
           {std::size_t{0}, std::size_t{17}, std::size_t{127}, std::size_t{2 * kColumns - 1}}) {
        std::vector<float> weights = gaussian(2 * kColumns, 9);
        weights[at] = bad;
        const std::string element = "element " + std::to_string(at) + ":";
        EXPECT_ERROR(encode(format, weights, kColumns), element.c_str(), "finite");
        Encoded encoded = room_for(format, weights.size(), kColumns);
        const std::vector<Params> params(has_params(format) ? weights.size() : 0);
        std::vector<Code> codes(weights.size());
        std::vector<float> out(weights.size());
        EXPECT_ERROR(format.round(params, weights, codes, out), element.c_str(), "finite");
      }
  });
}

/// Parameters of these values, legal or not.
Params as_stored(const Format& format, float scale, float bias) {
  if (format.layout(kColumns).units_per_record == 1) return {scale, bias};
  SubScale once{.scale_unit = f32_to_f16(scale), .scale = 1};
  if (format.affine()->free_bias) {
    once.minimum_unit = f32_to_f16(-bias);
    once.minimum = 1;
  }
  return {scale, bias, once};
}

TEST(Conformance, ValidRefusesWhatNoReaderMayAccept) {
  for_each_format(is_affine, [](const Format& format) {
    const AffineView view = *format.affine();
    const std::vector<Code> codes = legal_codes(view);
    std::string why;
    EXPECT_TRUE(format.valid(as_stored(format, 0.5f, 0.0f), codes, &why)) << why;
    for (const float scale : {kNan, kInfinity, -kInfinity}) {
      EXPECT_FALSE(format.valid(as_stored(format, scale, 0.0f), codes, &why));
      EXPECT_NE(why.find("scale"), std::string::npos);
    }
    if (format.layout(32).planes[0].suffix == "weight" && view.free_bias)
      for (const float bias : {kNan, kInfinity}) {
        EXPECT_FALSE(format.valid(as_stored(format, 0.5f, bias), codes, &why));
        EXPECT_NE(why.find("bias"), std::string::npos);
      }
    const bool any_sign = format.name().starts_with("mlx") || format.name().starts_with("q");
    for (const float scale : {0.0f, -0.0f, -1.0f})
      EXPECT_EQ(format.valid(as_stored(format, scale, 0.0f), codes, &why), any_sign) << "scale " << scale;
    for (const Code outside : {view.first_code - 1, view.first_code + view.codes}) {
      std::vector<Code> wrong = codes;
      wrong[2 % wrong.size()] = outside;
      EXPECT_FALSE(format.valid(as_stored(format, 0.5f, 0.0f), wrong, &why));
      EXPECT_NE(why.find(std::to_string(outside)), std::string::npos) << why;
    }
  });
}

TEST(Conformance, AffineViewAgreesWithDecode) {
  for_each_format(is_affine, [](const Format& format) {
    const AffineView view = *format.affine();
    const std::vector<Code> codes = legal_codes(view);
    for (const Params& stored : stored_params(format)) {
      std::vector<float> values(codes.size());
      format.decode({&stored, 1}, codes, values);
      for (std::size_t i = 0; i < codes.size(); ++i) {
        const float product = static_cast<float>(codes[i] - view.zero) * stored.scale;
        EXPECT_EQ(values[i], product + stored.bias);
      }
      EXPECT_EQ(values[static_cast<std::size_t>(view.zero - view.first_code)], stored.bias);
      if (!view.free_bias) {
        EXPECT_NEAR(stored.bias, view.bias_per_scale * stored.scale, 0x1p-24);
      }
      const auto [low, high] = format.range(stored);
      EXPECT_EQ(low, *std::min_element(values.begin(), values.end()));
      EXPECT_EQ(high, *std::max_element(values.begin(), values.end()));
    }
    // Clipping rules and int8-golf fix their scales.
    const bool fixed = format.name().find("sdclip") != std::string::npos || format.name() == "int8-golf";
    EXPECT_EQ(view.searchable, !fixed);
  });
}

TEST(Conformance, StoreGivesTheNearestStoredParametersOrNone) {
  for_each_format(is_affine, [](const Format& format) {
    for (const Params& stored : stored_params(format)) {
      const auto again = format.store(stored.scale, stored.bias);
      ASSERT_TRUE(again.has_value());
      EXPECT_TRUE(same_bits(again->scale, stored.scale) && same_bits(again->bias, stored.bias))
          << stored.scale;
      // As stored: packing keeps every bit.
      const Layout layout = format.layout(32);
      const std::size_t run = layout.record_run();
      Encoded unit{std::vector<Params>(layout.units_per_record, stored),
                   std::vector<Code>(run, format.affine()->zero)};
      const Params unpacked =
          unpack(format, pack(format, unit, 32), run, layout.share == Share::row ? 32 : run).params[0];
      EXPECT_TRUE(same_bits(unpacked.scale, stored.scale) && same_bits(unpacked.bias, stored.bias));
      EXPECT_EQ(unpacked.sub, stored.sub);
      std::string why;
      EXPECT_TRUE(format.valid(stored, unit.codes, &why)) << why;
    }
    for (const float scale : {0.0f, -0.0f, kNan, kInfinity, -kInfinity})
      EXPECT_EQ(format.store(scale, 0.0f), std::nullopt);
    if (format.affine()->free_bias) {
      EXPECT_EQ(format.store(1.0f, kNan), std::nullopt);
      EXPECT_EQ(format.store(1.0f, kInfinity), std::nullopt);
    }
    const bool any_sign = format.name().starts_with("mlx") || format.name().starts_with("q");
    EXPECT_EQ(format.store(-0.5f, 0.0f).has_value(), any_sign);
    const double ulp = format.name().ends_with("-bf16") ? 0x1p-8 : 0x1p-11;
    EXPECT_NEAR(format.store(0.3f, 0.0f)->scale, 0.3f, 0.3 * ulp);
  });
}

TEST(Conformance, FormatsThatCannotEncodeRefuseTo) {
  for_each_format(
      [](const Format& f) { return !f.can_encode(); },
      [](const Format& format) {
        std::vector<float> weights(kColumns, 1.0f);
        Encoded encoded = room_for(format, kColumns, kColumns);
        EXPECT_ERROR(format.reference(weights, encoded.params, encoded.codes), "can only be read");
        EXPECT_ERROR(format.round(encoded.params, weights, encoded.codes, weights), "can only be read");
        EXPECT_ERROR(pack(format, encoded, kColumns), "can only be read");
        EXPECT_FALSE(format.affine().has_value());
        EXPECT_FALSE(format.store(1.0f, 0.0f).has_value());
      });
}

/// A matrix of eight rows of random bytes: whatever its units are, legal ones decode to finite weights within
/// their range, and each as it would alone.
TEST(Conformance, RandomPlanesDecodeUnitByUnit) {
  std::mt19937 random(11);
  for_each_format(has_params, [&](const Format& format) {
    const Layout layout = format.layout(kColumns);
    const std::size_t units = unit_count(layout, 8, kColumns), run = layout.run;
    PlaneBytes planes;
    for (const Plane& plane : layout.planes) {
      auto& bytes = planes.emplace_back(layout.bytes(plane, units));
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    }
    Encoded encoded;
    try {
      encoded = unpack(format, planes, 8 * kColumns, kColumns);
    } catch (const Error&) {
      return;  // bytes that no writer leaves behind may be refused here already
    }
    std::size_t legal = 0;
    for (std::size_t unit = 0; unit < units; ++unit) {
      const std::span params = std::span(encoded.params).subspan(unit, 1);
      const std::span codes = std::span(encoded.codes).subspan(unit * run, run);
      std::string why;
      if (!format.valid(params[0], codes, &why)) {
        EXPECT_FALSE(why.empty());
        continue;
      }
      ++legal;
      PlaneBytes alone;
      for (std::size_t p = 0; p < planes.size(); ++p) {
        const auto begin = planes[p].begin() + static_cast<std::ptrdiff_t>(unit / layout.units_per_record *
                                                                           layout.planes[p].record_bytes);
        alone.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(layout.planes[p].record_bytes));
      }
      Encoded same{std::vector<Params>(layout.units_per_record), std::vector<Code>(layout.record_run())};
      const std::vector<Bytes> views(alone.begin(), alone.end());
      format.unpack(views, same.params, same.codes);
      EXPECT_TRUE(std::ranges::equal(std::span(same.codes).subspan(unit % layout.units_per_record * run, run),
                                     codes));
      const auto [low, high] = format.range(params[0]);
      std::vector<float> weights(run);
      format.decode(params, codes, weights);
      for (const float weight : weights) {
        EXPECT_GE(weight, low);
        EXPECT_LE(weight, high);
      }
    }
    if (!format.can_encode()) {
      EXPECT_GT(legal, 0u);
    }
  });
}

}  // namespace
}  // namespace assay::test
