// Every operation of the fast backend against the reference's float64 loops, over shapes with odd edges.
#include "assay/kernels/ops.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "assay/formats/table.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/observed_ops.h"
#include "assay/kernels/workspace.h"
#include "tests/isa.h"

namespace assay {
namespace {

std::vector<float> noise(std::size_t count, unsigned seed, float deviation = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

/// One backend with room for the rows of a test.
struct Side {
  const Ops& ops;
  Workspace workspace;

  explicit Side(const Ops& backend) : ops(backend) {}
  Rows rows(const std::vector<float>& values, std::size_t width) {
    const Rows made = workspace.take(ops.element(), values.size() / width, width);
    ops.write(values, made);
    return made;
  }
  Rows empty(std::size_t count, std::size_t width) {
    return rows(std::vector<float>(count * width, std::nanf("")), width);
  }
  std::vector<float> values(const Rows& rows) const {
    std::vector<float> out(rows.size());
    ops.read(rows, out);
    return out;
  }
  VectorPtr vector(const std::vector<float>& values) const {
    return ops.vector(std::vector<double>(values.begin(), values.end()));
  }
};

/// Runs an operation on both backends; what it returns must agree within `tolerance` of the largest value,
/// and the fast one gives the same bits on every instruction set.
template <class Run>
void expect_same(const Run& run, double tolerance = 2e-6) {
  Side fast(cpu_ops()), slow(reference_ops());
  const std::vector<float> got = run(fast), wanted = run(slow);
  ASSERT_EQ(got.size(), wanted.size());
  double largest = 0;
  for (const float value : wanted) largest = std::max(largest, std::abs(static_cast<double>(value)));
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], wanted[i], tolerance * largest) << i;
  test::expect_same_on_every_isa([&] {
    Side side(cpu_ops());
    return run(side);
  });
}

constexpr std::size_t kTokens = 37, kWidth = 45;

TEST(Ops, RowByRow) {
  const auto x = noise(kTokens * kWidth, 1, 3), y = noise(kTokens * kWidth, 2), w = noise(kWidth, 3);
  const auto gates = noise(kTokens, 4);
  const auto in_place = [&](const auto& run) {
    expect_same([&](Side& side) {
      const Rows a = side.rows(x, kWidth), b = side.rows(y, kWidth);
      run(side, a, b);
      return side.values(a);
    });
  };
  in_place([&](Side& s, const Rows& a, const Rows&) { s.ops.rms_norm(a, *s.vector(w), 1e-5f, a); });
  in_place([&](Side& s, const Rows& a, const Rows&) { s.ops.l2_norm(a, 5, 4, 9, 9); });
  in_place([&](Side& s, const Rows& a, const Rows&) { s.ops.l2_norm(a, 0, 1, 45, 1); });
  in_place([&](Side& s, const Rows& a, const Rows& b) { s.ops.add(a, b); });
  in_place([&](Side& s, const Rows& a, const Rows&) { s.ops.add_bias(a, *s.vector(w)); });
  in_place([&](Side& s, const Rows& a, const Rows&) { s.ops.silu(a); });
  in_place([&](Side& s, const Rows& a, const Rows& b) { s.ops.silu_multiply(a, b); });
  in_place([&](Side& s, const Rows& a, const Rows& b) { s.ops.sigmoid_multiply(a, b); });
  in_place([&](Side& s, const Rows& a, const Rows& b) { s.ops.add_gated(a, s.rows(gates, 1), b); });
  in_place([&](Side& s, const Rows& a, const Rows& b) { s.ops.copy(b, a); });
  in_place([&](Side& s, const Rows& a, const Rows&) { s.ops.zero(a.range(3, 7)); });
  in_place([&](Side& s, const Rows& a, const Rows& b) { s.ops.copy_heads(b, 5, 2, 4, a, 11); });
}

TEST(Ops, CopiedHeadsStandWhereTheyBelong) {
  Side side(cpu_ops());
  const Rows x = side.rows({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 6),
             out = side.rows(std::vector<float>(10), 5);
  side.ops.copy_heads(x, 2, 1, 2, out, 1);
  EXPECT_EQ(side.values(out), (std::vector<float>{0, 1, 2, 4, 5, 0, 7, 8, 10, 11}));
}

TEST(Ops, RotaryPositionsAreExactFarOut) {
  const std::vector<double> frequencies = {1.0, 1e-3};
  const std::vector<std::size_t> positions = {0, 1000003};
  for (const Ops* ops : {&cpu_ops(), &reference_ops()}) {
    Side side(*ops);
    const Rows angles = side.empty(2, 4), x = side.rows({1, 2, 3, 4, 9, 1, 2, 3, 4, 9}, 5);
    side.ops.rope_angles(frequencies, positions, angles);
    side.ops.rope(angles, 5, x);
    const auto out = side.values(x);
    EXPECT_EQ(out[0], 1.0f);
    EXPECT_EQ(out[3], 4.0f);
    EXPECT_NEAR(out[5], std::cos(1000003.0) - 3 * std::sin(1000003.0), 1e-6);
    EXPECT_NEAR(out[7], std::sin(1000003.0) + 3 * std::cos(1000003.0), 1e-6);
    EXPECT_NEAR(out[8], 2 * std::sin(1000.003) + 4 * std::cos(1000.003), 1e-6);
    EXPECT_EQ(out[9], 9.0f);  // beyond what is turned
  }
}

TEST(Ops, RotaryPositionsOfManyTokensAndHeads) {
  const auto x = noise(kTokens * 3 * 8, 5);
  std::vector<std::size_t> positions(kTokens);
  for (std::size_t i = 0; i < kTokens; ++i) positions[i] = 100 + 3 * i;
  expect_same([&](Side& side) {
    const Rows angles = side.empty(kTokens, 6), rows = side.rows(x, 24);
    side.ops.rope_angles(std::vector<double>{1, 0.1, 0.01}, positions, angles);
    side.ops.rope(angles, 8, rows);
    return side.values(rows);
  });
}

TEST(Ops, MatricesAndEmbeddings) {
  const PackedMatrix matrix = PackedMatrix::of_floats(noise(70 * kWidth, 6), 70, kWidth);
  const PackedMatrix other = PackedMatrix::of_floats(noise(33 * kWidth, 7), 33, kWidth);
  const auto x = noise(kTokens * kWidth, 8);
  expect_same([&](Side& side) {
    const auto a = side.ops.matrix(matrix, {}), b = side.ops.matrix(other, {});
    const std::vector<const Linear*> both = {a.get(), b.get()};
    const std::vector<Rows> outs = {side.empty(kTokens, 70), side.empty(kTokens, 33)};
    side.ops.linear_group(both, side.rows(x, kWidth), outs);
    auto all = side.values(outs[0]);
    const auto second = side.values(outs[1]);
    all.insert(all.end(), second.begin(), second.end());
    const Rows rows = side.empty(3, kWidth);
    side.ops.embedding(*a, std::vector<std::int32_t>{69, 0, 69}, rows);
    const auto found = side.values(rows);
    all.insert(all.end(), found.begin(), found.end());
    return all;
  });
}

TEST(ObservedOps, ShowsEachGroupAndItsInputsBeforeTheyMultiply) {
  Side side(cpu_ops());
  const auto linear = [&](float value) {
    return make_linear(PackedMatrix::of_floats(std::vector<float>(6, value), 2, 3), {Residency::decoded});
  };
  const auto one = linear(1), two = linear(2);
  const Rows x = side.rows({1, 2, 3}, 3), a = side.empty(1, 2), b = side.empty(1, 2);
  std::vector<const Linear*> seen;
  const auto look = [&](std::span<const Linear* const> group, const Rows& inputs) {
    seen.assign(group.begin(), group.end());
    EXPECT_EQ(side.values(inputs), (std::vector<float>{1, 2, 3}));
    EXPECT_TRUE(std::isnan(side.values(a)[0]));
  };
  const auto ops = observed_ops(cpu_ops(), {.linear = look});
  const std::array group = {one.get(), two.get()};
  ops->linear_group(group, x, std::array{a, b});
  EXPECT_EQ(seen, std::vector<const Linear*>(group.begin(), group.end()));
  EXPECT_EQ(side.values(a), (std::vector<float>{6, 6}));
  EXPECT_EQ(side.values(b), (std::vector<float>{12, 12}));
}

TEST(ObservedOps, ShowsWhatEachTokenOfALayerChose) {
  Side side(cpu_ops());
  const std::vector<float> logits = {1, 4, 2, 3, 5, 0, 9, 7};
  std::vector<std::vector<std::uint32_t>> chosen;
  std::vector<float> probabilities;
  const auto look = [&](int layer, std::span<const float> all, std::span<const Visit> visits) {
    EXPECT_EQ(layer, 3);
    probabilities.insert(probabilities.end(), all.begin(), all.end());
    std::vector<std::uint32_t>& experts = chosen.emplace_back();
    for (const Visit& visit : visits) experts.push_back(visit.expert);
  };
  Routing routing;
  observed_ops(cpu_ops(), {.route = look})->route(side.rows(logits, 4), {2, 2, true, 3}, routing);
  EXPECT_EQ(chosen, (std::vector<std::vector<std::uint32_t>>{{1, 3}, {2, 3}}));
  EXPECT_EQ(probabilities, routing.probabilities);
  Routing unobserved;
  observed_ops(cpu_ops(), {})->route(side.rows(logits, 4), {2, 2, true, 3}, unobserved);
  EXPECT_EQ(unobserved.probabilities, routing.probabilities);
}

// Two sequences, prefill in two parts and a token, heads that share keys.
TEST(Ops, AttentionOverAGrowingCache) {
  for (const AttentionShape shape : {AttentionShape{6, 2, 12}, {2, 2, 83}}) {
    const std::size_t wide = shape.heads * shape.head_dim, narrow = shape.kv_heads * shape.head_dim;
    const auto q = noise(300 * wide, 9), k = noise(300 * narrow, 10), v = noise(300 * narrow, 11);
    const LayerStateShape kept{shape.kv_heads, shape.head_dim, 0};
    expect_same([&](Side& side) {
      const auto first = side.ops.layer_state(kept), second = side.ops.layer_state(kept);
      std::vector<float> all;
      const auto run = [&](std::size_t from, std::vector<LayerChunk> chunks) {
        std::size_t rows = 0;
        for (const LayerChunk& chunk : chunks) {
          chunk.state->reserve(chunk.start + chunk.count);
          rows += chunk.count;
        }
        const auto part = [&](const std::vector<float>& values, std::size_t width) {
          const auto begin = values.begin() + static_cast<std::ptrdiff_t>(from * width);
          return side.rows({begin, begin + static_cast<std::ptrdiff_t>(rows * width)}, width);
        };
        side.ops.append(chunks, part(k, narrow), part(v, narrow));
        const Rows out = side.empty(rows, wide);
        side.ops.attention(chunks, shape, part(q, wide), out);
        const auto found = side.values(out);
        all.insert(all.end(), found.begin(), found.end());
      };
      run(0, {{first.get(), 0, 140, 0}});
      run(140, {{first.get(), 140, 1, 0}, {second.get(), 0, 9, 1}});
      run(150, {{second.get(), 9, 3, 0}, {first.get(), 141, 5, 3}});
      return all;
    });
  }
}

// A chunk of many tokens, then single ones, of two sequences; only what was committed is carried on.
TEST(Ops, DeltaNetsCarryTheirState) {
  const DeltaShape shape{2, 4, 20, 12, 4};
  const std::size_t channels = shape.channels(), values = shape.values();
  const auto x = noise(60 * channels, 12), beta = noise(60 * 4, 13), decay = noise(60 * 4, 14);
  const auto taps = noise(4 * channels, 15, 0.5f), rate = noise(4, 16), bias = noise(4, 17);
  expect_same(
      [&](Side& side) {
        const auto first = side.ops.layer_state({0, 0, shape.carried()}),
                   second = side.ops.layer_state({0, 0, shape.carried()});
        std::vector<float> all;
        std::size_t at = 0;
        const auto run = [&](std::vector<LayerChunk> chunks, bool commit) {
          std::size_t rows = 0;
          for (const LayerChunk& chunk : chunks) rows += chunk.count;
          const auto part = [&](const std::vector<float>& from, std::size_t width) {
            const auto begin = from.begin() + static_cast<std::ptrdiff_t>(at * width);
            return side.rows({begin, begin + static_cast<std::ptrdiff_t>(rows * width)}, width);
          };
          const Rows b = part(beta, 4), d = part(decay, 4), mixed = side.empty(rows, channels),
                     out = side.empty(rows, values);
          side.ops.delta_gates(b, d, *side.vector(rate), *side.vector(bias));
          side.ops.causal_convolution(chunks, shape, *side.vector(taps), part(x, channels), mixed);
          side.ops.l2_norm(mixed, 0, 4, 20, 1);
          side.ops.delta_rule(chunks, shape, mixed, b, d, out);
          for (const LayerChunk& chunk : chunks)
            if (commit) chunk.state->commit();
          const auto found = side.values(out);
          all.insert(all.end(), found.begin(), found.end());
          at += rows;
        };
        run({{first.get(), 0, 21, 0}}, true);
        run({{first.get(), 21, 2, 0}, {second.get(), 0, 2, 2}}, true);
        run({{first.get(), 23, 9, 0}}, false);  // a pass that failed
        run({{second.get(), 2, 1, 0}, {first.get(), 23, 5, 1}}, true);
        const auto saved = first->carried();
        run({{first.get(), 28, 3, 0}}, true);
        first->restore(*saved);
        run({{first.get(), 28, 3, 0}}, true);
        return all;
      },
      1e-5);
}

TEST(Ops, RoutesGathersAndScatters) {
  const auto logits = noise(kTokens * 9, 18), x = noise(kTokens * 6, 19);
  for (const RouteOptions options :
       {RouteOptions{3, 3, true}, RouteOptions{2, 3, false}, RouteOptions{9, 3, false}})
    expect_same([&](Side& side) {
      Routing routing;
      side.ops.route(side.rows(logits, 9), options, routing);
      std::vector<float> all = routing.probabilities;
      for (const Visit& visit : routing.visits) {
        all.push_back(static_cast<float>(visit.expert));
        all.push_back(static_cast<float>(visit.weight));
      }
      std::vector<GatheredRow> rows;
      for (std::uint32_t i = 0; i < 20; ++i) rows.push_back({(i * 7) % 37, 19 - i, 0.25 * i});
      const Rows gathered = side.empty(20, 6), sum = side.rows(std::vector<float>(kTokens * 6, 1.0f), 6);
      side.ops.gather(side.rows(x, 6), rows, gathered);
      side.ops.scatter_add(gathered, rows, sum);
      for (const Rows& made : {gathered, sum}) {
        const auto found = side.values(made);
        all.insert(all.end(), found.begin(), found.end());
      }
      return all;
    });
}

TEST(Workspace, GivesBackInScopesAndAsksOnce) {
  Workspace workspace;
  const auto pass = [&](std::size_t rows) {
    const Workspace::Scope scope(workspace);
    const Rows a = workspace.take(Element::f32, rows, 64);
    {
      const Workspace::Scope inner(workspace);
      workspace.take(Element::f32, 4 * rows, 64);
    }
    const Rows b = workspace.take(Element::f32, rows, 64);
    host_values<float>(b)[0] = 1;
    host_values<float>(a)[a.size() - 1] = 2;
    EXPECT_EQ(host_values<float>(b)[0], 1);  // they do not overlap
  };
  pass(1);
  const std::size_t once = workspace.allocations();
  for (int i = 0; i < 100; ++i) pass(1);
  EXPECT_EQ(workspace.allocations(), once);
  pass(20000);  // a long prefill, given back
  pass(1);
  const std::size_t later = workspace.allocations();
  pass(1);
  EXPECT_EQ(workspace.allocations(), later);
}

}  // namespace
}  // namespace assay
