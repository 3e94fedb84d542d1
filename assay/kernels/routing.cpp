#include "assay/kernels/routing.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <vector>

namespace assay {
namespace {

template <class T>
void choose(std::span<const T> probabilities, const RouteOptions& options, std::span<Visit> visits) {
  assert(visits.size() == options.active);
  thread_local std::vector<std::uint32_t> order;  // kept between calls
  order.resize(probabilities.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto most = static_cast<std::ptrdiff_t>(std::max(options.active, options.trained_active));
  std::partial_sort(order.begin(), order.begin() + most, order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return probabilities[a] != probabilities[b] ? probabilities[a] > probabilities[b] : a < b;
  });
  const auto total = [&](std::size_t count) {
    T sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += probabilities[order[i]];
    return sum;
  };
  T divisor = 1, factor = 1;
  if (options.normalise)
    divisor = total(options.active);
  else if (options.active != options.trained_active)
    factor = total(options.trained_active) / total(options.active);
  for (std::size_t i = 0; i < options.active; ++i)
    visits[i] = {order[i], static_cast<double>(probabilities[order[i]] / divisor * factor)};
}

}  // namespace

void choose_experts(std::span<const float> probabilities, const RouteOptions& options,
                    std::span<Visit> visits) {
  choose(probabilities, options, visits);
}

void choose_experts(std::span<const double> probabilities, const RouteOptions& options,
                    std::span<Visit> visits) {
  choose(probabilities, options, visits);
}

}  // namespace assay
