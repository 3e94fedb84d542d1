#include "assay/ablation/verdict.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "assay/base/error.h"

namespace assay {
namespace {

struct Metric {
  const char* name;
  double Cell::*value;
  bool primary;  // the smallest effect of interest is one of this metric; the others are exploratory
};
constexpr Metric kMetrics[] = {{"bpb_post_quant", &Cell::bits_per_byte, true},
                               {"kld_mean", &Cell::divergence, false},
                               {"reconstruction_rel", &Cell::heldout_relative, false}};

/// The cells of one model and format, complete.
struct Grid {
  std::vector<std::uint64_t> batches;                                    // ascending
  std::vector<std::uint64_t> seeds;                                      // ascending
  std::map<std::pair<std::uint64_t, std::uint64_t>, const Cell*> cells;  // (N, seed)
};

Grid make_grid(const std::vector<const Cell*>& cells) {
  Grid grid;
  std::set<std::uint64_t> batches, seeds;
  for (const Cell* cell : cells) {
    batches.insert(cell->batches);
    seeds.insert(cell->seed);
    if (!grid.cells.emplace(std::pair(cell->batches, cell->seed), cell).second)
      fail("ablation: {} as {}: the cell of seed {} and N {} is there twice", cell->setting.model,
           cell->format, cell->seed, cell->batches);
  }
  for (const std::uint64_t n : batches)
    for (const std::uint64_t seed : seeds)
      if (!grid.cells.contains({n, seed}))
        fail("ablation: {} as {}: the cell of seed {} and N {} is missing", cells.front()->setting.model,
             cells.front()->format, seed, n);
  if (batches.size() < 2 || seeds.size() < 2)
    fail("ablation: {} as {}: {} values of N and {} seeds; two of each are needed to compare",
         cells.front()->setting.model, cells.front()->format, batches.size(), seeds.size());
  grid.batches.assign(batches.begin(), batches.end());
  grid.seeds.assign(seeds.begin(), seeds.end());
  return grid;
}

PairedTest test_of(const std::map<std::uint64_t, double>& deltas) {
  std::vector<double> values;
  for (const auto& [seed, delta] : deltas) values.push_back(delta);
  return paired_test(values);
}

std::optional<PairedTest> test_as_requested(const std::map<std::uint64_t, double>& deltas) {
  std::map<std::uint64_t, double> asked;
  for (const std::uint64_t seed : kRequestedSeeds) {
    const auto found = deltas.find(seed);
    if (found == deltas.end()) return std::nullopt;
    asked.insert(*found);
  }
  return test_of(asked);
}

AblationVerdict compare(const Grid& grid, const Metric& metric, std::size_t step) {
  const Cell& any = *grid.cells.begin()->second;
  AblationVerdict verdict;
  verdict.model = any.setting.model;
  verdict.rotated = any.setting.rotated;
  verdict.checkpoint_sha256 = any.setting.checkpoint_sha256;
  verdict.format = any.format;
  verdict.metric = metric.name;
  verdict.fewer = grid.batches[step];
  verdict.more = grid.batches[step + 1];
  for (const std::uint64_t seed : grid.seeds)
    verdict.deltas[seed] = grid.cells.at({verdict.more, seed})->*metric.value -
                           grid.cells.at({verdict.fewer, seed})->*metric.value;
  verdict.test = test_of(verdict.deltas);
  verdict.requested = test_as_requested(verdict.deltas);
  return verdict;
}

Claim claim_of(const AblationVerdict& verdict) {
  const PairedTest& test = verdict.test;
  if (!test.t) return test.mean == 0 ? Claim::identical : Claim::offset;
  const Interval sure = test.interval(0.95), likely = test.interval(0.90);
  if (test.pairs >= kEnoughPairs && verdict.holm_p < 0.05 &&
      std::fabs(test.mean) >= verdict.smallest_effect) {
    if (sure.high < 0) return Claim::lift;
    if (sure.low > 0) return Claim::harm;
  }
  if (likely.low > -verdict.smallest_effect && likely.high < verdict.smallest_effect)
    return Claim::equivalent;
  return Claim::no_lift_shown;
}

/// Without those that are empty.
std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end != 0) lines.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

OrderedJson number_or_null(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? OrderedJson(*value) : OrderedJson(nullptr);
}

}  // namespace

std::string_view claim_name(Claim claim) {
  switch (claim) {
    case Claim::identical:
      return "identical";
    case Claim::offset:
      return "deterministic_offset";
    case Claim::lift:
      return "lift";
    case Claim::harm:
      return "harm";
    case Claim::equivalent:
      return "equivalent";
    case Claim::no_lift_shown:
      return "no_lift_shown";
  }
  return "";
}

std::vector<AblationVerdict> decide(const std::vector<Cell>& cells, double smallest_effect) {
  if (cells.empty()) fail("ablation: no cells");
  std::vector<AblationVerdict> all;
  for (const CellGroup& group : group_by_checkpoint(cells)) {
    std::map<std::string, Grid> grids;
    const CellSetting& setting = group.setting();
    for (const auto& [format, members] : group.formats) {
      for (const Cell* cell : members)
        if (!(cell->setting == setting))
          fail(
              "ablation: {}: cells that were made differently (texts, tokens, damping or revision) cannot "
              "be compared",
              setting.model);
      grids.emplace(format, make_grid(members));
    }
    for (const Metric& metric : kMetrics) {
      const std::size_t first = all.size();
      for (const auto& [format, grid] : grids) {
        const std::size_t start = all.size();
        for (std::size_t step = 0; step + 1 < grid.batches.size(); ++step) {
          all.push_back(compare(grid, metric, step));
          all.back().smallest_effect = metric.primary ? smallest_effect : 0;
          all.back().asked_effect = smallest_effect;
        }
        const auto steps = std::span(all).subspan(start);
        if (std::ranges::all_of(steps, [](const auto& v) { return v.requested.has_value(); }))
          for (AblationVerdict& verdict : steps)
            verdict.request_rule = std::ranges::all_of(
                steps, [](const auto& v) { return v.requested->p_below.value_or(1) < kRequestedLevel; });
      }
      std::vector<double> p_values;
      for (std::size_t i = first; i < all.size(); ++i)
        p_values.push_back(all[i].test.p_two_sided.value_or(1));
      const std::vector<double> adjusted = holm_adjust(p_values);
      for (std::size_t i = first; i < all.size(); ++i) {
        all[i].holm_p = adjusted[i - first];
        all[i].claim = claim_of(all[i]);
      }
    }
  }
  return all;
}

std::string with_verdicts(std::string_view lines, const std::string& origin, double smallest_effect) {
  const std::vector<AblationVerdict> verdicts = decide(read_cells(lines, origin), smallest_effect);
  std::string rows;
  for (const std::string_view line : lines_of(lines))
    if (const Json row = parse_json(line, origin); json_get<std::string>(row, "type", origin) == "cell")
      rows += std::string(line) + "\n";
  for (const AblationVerdict& verdict : verdicts) rows += verdict.to_json().dump() + "\n";
  return rows;
}

OrderedJson AblationVerdict::to_json() const {
  OrderedJson raw = OrderedJson::object();
  for (const auto& [seed, delta] : deltas) raw[std::to_string(seed)] = delta;
  OrderedJson json = {{"type", "verdict"},
                      {"schema", 1},
                      {"model", model},
                      {"checkpoint_sha256", checkpoint_sha256},
                      {"rotated", rotated},
                      {"format", format},
                      {"metric", metric},
                      {"contrast", fmt::format("{}->{}", fewer, more)},
                      {"k", test.pairs},
                      {"deltas", std::move(raw)},
                      {"mean", test.mean},
                      {"sd", test.deviation},
                      {"se", test.standard_error},
                      {"t", number_or_null(test.t)},
                      {"df", test.pairs - 1},
                      {"p_one_tailed", number_or_null(test.p_below)},
                      {"p_holm", holm_p}};
  if (test.t) {
    const Interval interval = test.interval(0.95);
    json["ci95"] = {interval.low, interval.high};
    json["mde80"] = test.detectable();
  } else {
    json["ci95"] = nullptr;
    json["mde80"] = nullptr;
  }
  json["sesoi"] = smallest_effect > 0 ? OrderedJson(smallest_effect) : OrderedJson(nullptr);
  json["request_p_one_tailed"] = requested ? number_or_null(requested->p_below) : OrderedJson(nullptr);
  json["request_rule"] = !request_rule ? OrderedJson(nullptr) : OrderedJson(*request_rule ? "pass" : "fail");
  json["claim"] = claim_name(claim);
  json["replay"] = fmt::format("assay ablate verdict --sesoi {:g} < cells.jsonl", asked_effect);
  return json;
}

}  // namespace assay
