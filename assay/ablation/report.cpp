#include <fmt/core.h>

#include <set>
#include <tuple>

#include "assay/ablation/verdict.h"

namespace assay {
namespace {

std::string delta_list(const AblationVerdict& verdict) {
  std::string text;
  for (const auto& [seed, delta] : verdict.deltas)
    text += fmt::format("{}{:+.3g}", text.empty() ? "" : " ", delta);
  return text;
}

std::string in_words(const AblationVerdict& verdict) {
  switch (verdict.claim) {
    case Claim::identical:
      return "identical: every difference is zero";
    case Claim::offset:
      return "the same offset in every draw: no test can be made of it";
    case Claim::lift:
      return "lift";
    case Claim::harm:
      return "harm";
    case Claim::equivalent:
      return fmt::format("equivalent within {:g}", verdict.smallest_effect);
    case Claim::no_lift_shown:
      if (verdict.test.pairs < kEnoughPairs)
        return fmt::format("{} draws: no claim of fewer than {}", verdict.test.pairs, kEnoughPairs);
      return fmt::format("no lift shown ({} pairs find {:.2g} four times in five)", verdict.test.pairs,
                         verdict.test.detectable());
  }
  return "";
}

/// Means over seeds of one format's cells, a line for each N.
void add_means(std::string& page, const std::vector<const Cell*>& cells) {
  std::set<std::uint64_t> batches;
  for (const Cell* cell : cells) batches.insert(cell->batches);
  for (const std::uint64_t n : batches) {
    Cell mean;
    double count = 0;
    for (const Cell* cell : cells) {
      if (cell->batches != n) continue;
      mean.heldout_relative += cell->heldout_relative;
      mean.calibration_loss += cell->calibration_loss;
      mean.heldout_loss += cell->heldout_loss;
      mean.bits_per_byte += cell->bits_per_byte - cell->original_bits_per_byte;
      mean.perplexity += cell->perplexity;
      mean.divergence += cell->divergence;
      mean.milliseconds += cell->milliseconds;
      mean.tokens_per_column = cell->tokens_per_column;
      mean.order = cell->order;
      ++count;
    }
    page += fmt::format(
        "| {} | {} | {} | {:.3g} | {:.4g} | {:.4g} | {:.3g} | {:+.6f} | {:.3f} | {:.5f} | {:.1f} |\n",
        cells.front()->format, n, mean.order, mean.tokens_per_column, mean.calibration_loss / count,
        mean.heldout_loss / count, mean.heldout_relative / count, mean.bits_per_byte / count,
        mean.perplexity / count, mean.divergence / count, mean.milliseconds / count / 1000);
  }
}

void add_setting(std::string& page, const Cell& cell) {
  const CellSetting& setting = cell.setting;
  page += fmt::format("\n## {}{}\n\n", setting.model, setting.rotated ? ", rotated, in float32" : "");
  page += fmt::format(
      "Checkpoint `{:.12}`, calibration text `{:.12}`, test text `{:.12}`: {} tokens scored, {} of them for "
      "the held-out layer loss. Batches of {} tokens, damping {:g}, {} rounds of refinement, revision {}. "
      "The original: perplexity {:.4f}, {:.5f} bits a byte.\n\n",
      setting.checkpoint_sha256, setting.calibration_sha256, setting.evaluation_sha256,
      setting.evaluation_tokens, setting.heldout_tokens, setting.tokens_per_batch, setting.damping,
      setting.refinements, setting.revision, cell.original_perplexity, cell.original_bits_per_byte);
}

}  // namespace

std::string ablation_report(const std::vector<Cell>& cells, const std::vector<AblationVerdict>& verdicts) {
  std::string page =
      "# Does more calibration help?\n\n"
      "Error feedback (GPTQ) with N batches of calibration text; N = 0 is plain rounding. Seeds draw the "
      "calibration windows; every other input is fixed, so differences within a seed are paired. Written by "
      "`assay ablate verdict --report`; the raw rows lie beside this page.\n\n"
      "Two rules. *Asked for*: a lift only if the one-tailed p of seeds 47, 89 and 144 is below .25 at every "
      "step of N (with nothing to find, two independent steps pass in 2.4 % of cases). *House*: at least 8 "
      "draws, 95 % interval beyond zero after Holm over formats and steps, and at least the smallest effect "
      "of "
      "interest. The claims are about these checkpoints: seeds are draws of text, not of models.\n";
  for (const CellGroup& group : group_by_checkpoint(cells)) {
    const CellSetting& setting = group.setting();
    add_setting(page, group.first());
    page +=
        "Means over seeds (loss: of all matrices, per output and token; bpb: above the original):\n\n"
        "| format | N | columns by | n/d | loss, calibration | loss, held out | relative | bpb lost | "
        "perplexity | KLD | "
        "s |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for (const auto& [format, members] : group.formats) add_means(page, members);
    page +=
        "\n| format | metric | step | difference a seed | mean [95 %] | t | p, one-tailed | asked for | "
        "house "
        "|\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for (const AblationVerdict& verdict : verdicts) {
      if (std::tie(verdict.model, verdict.checkpoint_sha256, verdict.rotated) !=
          std::tie(setting.model, setting.checkpoint_sha256, setting.rotated))
        continue;
      const Interval interval =
          verdict.test.t ? verdict.test.interval(0.95) : Interval{verdict.test.mean, verdict.test.mean};
      page += fmt::format(
          "| {} | {} | {} to {} | {} | {:+.3g} [{:+.3g}, {:+.3g}] | {} | {} | {} | {} |\n", verdict.format,
          verdict.metric, verdict.fewer, verdict.more, delta_list(verdict), verdict.test.mean, interval.low,
          interval.high, verdict.test.t ? fmt::format("{:.2f}", *verdict.test.t) : "none",
          verdict.test.p_below ? fmt::format("{:.2g}", *verdict.test.p_below) : "none",
          !verdict.request_rule ? "not these seeds" : (*verdict.request_rule ? "pass" : "fail"),
          in_words(verdict));
    }
  }
  return page;
}

}  // namespace assay
