#include "assay/allocation/allocation.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/formats/multiversion.h"

namespace assay {
namespace {

constexpr std::uint64_t kGrid = 1 << 16;  // steps of bytes at most

/// Bytes that all sizes of all choices differ by in whole multiples. Matrices of a model share large factors,
/// so steps of these bytes are mostly few enough to be exact.
std::uint64_t common_step(const std::vector<std::vector<Choice>>& items) {
  std::uint64_t step = 0;
  for (const auto& choices : items)
    for (const Choice& choice : choices) {
      const std::uint64_t first = choices.front().bytes;
      step = std::gcd(step, std::max(choice.bytes, first) - std::min(choice.bytes, first));
    }
  return std::max<std::uint64_t>(step, 1);
}

}  // namespace

void make_monotone(std::vector<Choice>& choices) {
  std::vector<std::size_t> by_bytes(choices.size());
  std::iota(by_bytes.begin(), by_bytes.end(), std::size_t{0});
  std::ranges::stable_sort(by_bytes, [&](auto a, auto b) { return choices[a].bytes < choices[b].bytes; });
  struct Pool {
    double sum;
    std::size_t count;
    double mean() const { return sum / static_cast<double>(count); }
  };
  std::vector<Pool> pools;
  for (const std::size_t i : by_bytes) {
    pools.push_back({choices[i].damage, 1});
    while (pools.size() > 1 && pools.back().mean() > pools[pools.size() - 2].mean()) {
      const Pool last = pools.back();
      pools.pop_back();
      pools.back() = {pools.back().sum + last.sum, pools.back().count + last.count};
    }
  }
  std::size_t at = 0;
  for (const Pool& pool : pools)
    for (std::size_t i = 0; i < pool.count; ++i) choices[by_bytes[at++]].damage = pool.mean();
}

namespace {

/// A choice as the programme sees it: its bytes above the item's smallest, in steps of the grid.
struct Step {
  std::size_t choice, cost;
  double damage;
};

/// In order of bytes, without those that take more bytes than another for no less damage: nothing is lost,
/// because the least damage never rises with the bytes.
std::vector<Step> steps_of(const std::vector<Choice>& choices, std::uint64_t step) {
  const std::uint64_t smallest = std::ranges::min(choices, {}, &Choice::bytes).bytes;
  std::vector<std::size_t> by_bytes(choices.size());
  std::iota(by_bytes.begin(), by_bytes.end(), std::size_t{0});
  std::ranges::stable_sort(by_bytes, [&](auto a, auto b) { return choices[a].bytes < choices[b].bytes; });
  std::vector<Step> steps;
  for (const std::size_t c : by_bytes)
    if (steps.empty() || choices[c].damage < steps.back().damage)
      steps.push_back(
          {c, static_cast<std::size_t>(ceil_divide(choices[c].bytes - smallest, step)), choices[c].damage});
  return steps;
}

ASSAY_LOOP void relax_loop(const double* before, double damage, double* after, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const double value = before[i] + damage;
    after[i] = value < after[i] ? value : after[i];
  }
}
constexpr Multiversion<relax_loop> relax;

/// Least damage of some first items for at most so many steps.
using Row = std::vector<double>;

void add_item(const std::vector<Step>& steps, const Row& before, Row& after) {
  after.assign(before.size(), std::numeric_limits<double>::infinity());
  for (const Step& step : steps)
    if (step.cost < before.size())
      relax(before.data(), step.damage, after.data() + step.cost, before.size() - step.cost);
}

}  // namespace

std::vector<std::size_t> allocate(const std::vector<std::vector<Choice>>& items, std::uint64_t budget) {
  std::uint64_t least = 0;
  for (const auto& choices : items) {
    assert(!choices.empty());
    least += std::ranges::min(choices, {}, &Choice::bytes).bytes;
  }
  if (least > budget) fail("{} bytes cannot be reached: the smallest formats take {}", budget, least);
  // Bytes above every item's smallest choice are what is shared out.
  const std::uint64_t spare = budget - least;
  const std::uint64_t common = common_step(items);
  // Coarser where there would be too many; sizes are then rounded up, so that the budget always holds.
  const std::uint64_t step = common * std::max<std::uint64_t>(1, ceil_divide(spare / common, kGrid));
  const auto width = static_cast<std::size_t>(spare / step) + 1;

  // One pass keeps every so-manieth row; going back, the rows between two of them are made again. What an
  // item took is found from the rows before and behind it, which are the same bits as in the first pass.
  const auto segment = std::max<std::size_t>(
      1, static_cast<std::size_t>(std::ceil(std::sqrt(static_cast<double>(items.size())))));
  std::vector<Row> kept;
  Row row(width, 0.0), next;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i % segment == 0) kept.push_back(row);
    add_item(steps_of(items[i], step), row, next);
    std::swap(row, next);
  }
  // row[used] holds for at most `used` steps: the least of equal damage is found from the left.
  auto used = static_cast<std::size_t>(std::ranges::min_element(row) - row.begin());
  std::vector<std::size_t> chosen(items.size());
  std::vector<Row> rows(segment);
  for (std::size_t end = items.size(); end > 0; kept.pop_back()) {
    const std::size_t begin = (kept.size() - 1) * segment;
    rows[0] = std::move(kept.back());
    for (std::size_t i = begin; i + 1 < end; ++i)
      add_item(steps_of(items[i], step), rows[i - begin], rows[i - begin + 1]);
    for (std::size_t i = end; i-- > begin; row = std::move(rows[i - begin])) {
      const std::vector<Step> steps = steps_of(items[i], step);
      const Row& before = rows[i - begin];
      const auto taken = std::ranges::find_if(steps, [&](const Step& s) {
        return s.cost <= used && before[used - s.cost] + s.damage == row[used];
      });
      assert(taken != steps.end());
      chosen[i] = taken->choice;
      used -= taken->cost;
    }
    end = begin;
  }
  return chosen;
}

}  // namespace assay
