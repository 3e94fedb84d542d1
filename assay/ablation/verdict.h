#pragma once
// What the rows of an ablation say: paired tests of more calibration against less, by the rule that was asked
// for and by the house's. Nothing but the rows goes in, so that anybody can compute them again.
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "assay/ablation/cell.h"
#include "assay/measure/paired_test.h"

namespace assay {

/// The rule that was asked for: one-tailed p below this for every step of N, on these seeds.
inline constexpr double kRequestedLevel = 0.25;
inline constexpr std::uint64_t kRequestedSeeds[] = {47, 89, 144};
/// Pairs from which on the house claims a lift or a harm.
inline constexpr std::size_t kEnoughPairs = 8;

enum class Claim {
  identical,     // every difference is zero
  offset,        // all differences are the same and not zero: no test can be made of it
  lift,          // better: enough pairs, 95 % interval beyond zero after Holm, at least the smallest effect
  harm,          // worse, by the same measure
  equivalent,    // 90 % interval within the smallest effect of interest
  no_lift_shown  // none of these
};
std::string_view claim_name(Claim claim);

struct AblationVerdict {
  std::string model, format, metric;
  bool rotated = false;
  std::string checkpoint_sha256;
  std::uint64_t fewer = 0, more = 0;       // batches compared
  std::map<std::uint64_t, double> deltas;  // seed -> metric with more minus metric with fewer: < 0 is better
  PairedTest test;
  std::optional<PairedTest> requested;  // on kRequestedSeeds alone, where all are there
  std::optional<bool> request_rule;     // the same for all steps of one format and metric
  double holm_p = 1;                    // two-sided, over formats and steps of a checkpoint and metric
  double smallest_effect = 0;           // of interest, in the metric's unit; 0: none was set
  double asked_effect = 0;              // the run's, in bits a byte: what a replay needs
  Claim claim = Claim::no_lift_shown;

  OrderedJson to_json() const;
};

/// Metrics: "bpb_post_quant", "kld_mean", "reconstruction_rel". One verdict for each model, format, metric
/// and step between successive N. Throws Error: a cell that is missing from the grid of seeds and N, or is
/// there twice, or cells of one model that were made differently.
std::vector<AblationVerdict> decide(const std::vector<Cell>& cells, double smallest_effect);

/// The rows of a file with the verdicts of its cells behind them; earlier verdicts are replaced, cells stay
/// as they are, byte for byte.
std::string with_verdicts(std::string_view lines, const std::string& origin, double smallest_effect);

/// The whole as a page of Markdown: settings, every mean, every raw difference, every claim in words.
std::string ablation_report(const std::vector<Cell>& cells, const std::vector<AblationVerdict>& verdicts);

}  // namespace assay
