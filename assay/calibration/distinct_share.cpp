#include "assay/calibration/distinct_share.h"

#include <algorithm>
#include <array>

namespace assay {

double distinct_share(std::span<const std::vector<TokenId>> windows) {
  constexpr std::size_t kRun = 4;  // tokens: one and its context
  using Run = std::array<TokenId, kRun>;
  std::vector<Run> runs;
  for (const auto& window : windows) {
    Run run;
    run.fill(-1);
    for (const TokenId token : window) {
      std::shift_left(run.begin(), run.end(), 1);
      run.back() = token;
      runs.push_back(run);
    }
  }
  if (runs.empty()) return 1;
  const auto total = static_cast<double>(runs.size());
  std::ranges::sort(runs);
  const auto distinct = std::unique(runs.begin(), runs.end()) - runs.begin();
  return static_cast<double>(distinct) / total;
}

}  // namespace assay
