#include "assay/quantize/allocation.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>

#include "assay/base/checked.h"
#include "assay/base/error.h"

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
  constexpr double kNever = std::numeric_limits<double>::infinity();
  std::vector<double> best(width, 0.0), next(width);
  std::vector<std::vector<std::uint32_t>> taken;  // [item][steps of spare bytes used so far]
  for (const auto& choices : items) {
    const std::uint64_t smallest = std::ranges::min(choices, {}, &Choice::bytes).bytes;
    std::ranges::fill(next, kNever);
    taken.emplace_back(width, 0u);
    std::vector<std::size_t> by_bytes(choices.size());
    std::iota(by_bytes.begin(), by_bytes.end(), std::size_t{0});
    std::ranges::stable_sort(by_bytes, [&](auto a, auto b) { return choices[a].bytes < choices[b].bytes; });
    for (const std::size_t c : by_bytes) {
      const std::uint64_t cost = ceil_divide(choices[c].bytes - smallest, step);
      for (std::size_t used = static_cast<std::size_t>(cost); used < width; ++used) {
        const double damage = best[used - static_cast<std::size_t>(cost)] + choices[c].damage;
        if (!(damage < next[used])) continue;
        next[used] = damage;
        taken.back()[used] = static_cast<std::uint32_t>(c);
      }
    }
    std::swap(best, next);
  }
  // best[used] holds for at most `used` steps: the least of equal damage is found from the left.
  std::size_t used = static_cast<std::size_t>(std::ranges::min_element(best) - best.begin());
  std::vector<std::size_t> chosen(items.size());
  for (std::size_t i = items.size(); i-- > 0;) {
    const std::size_t c = taken[i][used];
    const std::uint64_t smallest = std::ranges::min(items[i], {}, &Choice::bytes).bytes;
    chosen[i] = c;
    used -= static_cast<std::size_t>(ceil_divide(items[i][c].bytes - smallest, step));
  }
  return chosen;
}

}  // namespace assay
