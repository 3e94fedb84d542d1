#include <fmt/format.h>

#include "assay/base/printable.h"
#include "assay/measure/parity.h"

namespace assay {
namespace {

/// On one line, and harmless inside Markdown.
std::string quoted_line(std::string_view text) {
  std::string quoted = "`";
  for (const char c : text.substr(0, 120)) {
    if (c == '\n')
      quoted += "\\n";
    else if (c == '`')
      quoted += '\'';
    else if (static_cast<unsigned char>(c) >= 0x20)
      quoted += c;
  }
  return quoted + (text.size() > 120 ? "...`" : "`");
}

std::string rate(double tokens_per_second) {
  return tokens_per_second > 0 ? fmt::format("{:.1f}", tokens_per_second) : "not given";
}

std::string render_case(const ParityCase& reference_case, const ParityResult& result,
                        const Tokenizer& tokenizer) {
  const auto name = [&](TokenId id) {
    return quoted_line(tokenizer.decode(std::span<const TokenId>(&id, 1)));
  };
  std::string text = fmt::format(
      "- window: {} new tokens\n- agreement: {} of {} ({:.1f} %)\n", result.window, result.equal,
      result.window, 100.0 * static_cast<double>(result.equal) / static_cast<double>(result.window));
  if (result.differences.empty()) {
    text += "- first difference: none\n";
  } else {
    const ParityDifference& first = result.differences.front();
    text += fmt::format(
        "- first difference: position {}, {} (id {}) expected, {} (id {}) found\n- margin there: {:.5f}\n",
        first.position, name(first.expected), first.expected, name(first.found), first.found, first.margin);
    if (result.differences.size() > 1)
      text += fmt::format("- further differences: {} (compared on from the reference's tokens)\n",
                          result.differences.size() - 1);
  }
  if (result.logits)
    text += fmt::format("- logits: RMS difference {:.2e}, largest {:.2e}, relative to the reference's RMS\n",
                        result.logits->relative_rms, result.logits->relative_max);
  text += fmt::format("- tokens/s: {} (reference {})\n- verdict: **{}**\n", rate(result.tokens_per_second),
                      rate(reference_case.tokens_per_second), parity_verdict_name(result.verdict));
  return text;
}

}  // namespace

std::string render_parity_report(const ParityReportInput& input, const Tokenizer& tokenizer) {
  std::string text = fmt::format(
      "# Parity\n\n- model: {}\n- reference: {}\n- greedy, temperature 0, repetition penalty 1.0\n- a "
      "reference choice "
      "with a top-2 margin of at most {} logits is undecidable\n\n",
      printable(input.model), printable(input.reference), input.options.margin_tolerance);
  if (input.reference_check) text += fmt::format("{}\n\n", input.reference_check->sentence);
  for (std::size_t i = 0; i < input.cases.size(); ++i)
    text += fmt::format("## Prompt {}: {}\n\n{}\n", i + 1, quoted_line(input.cases[i].prompt),
                        render_case(input.cases[i], input.results[i], tokenizer));
  std::size_t counts[3] = {};
  for (const ParityResult& result : input.results) ++counts[static_cast<std::size_t>(result.verdict)];
  return text + fmt::format("## Verdict\n\n{} of {} prompts equal, {} undecidable, {} mismatched: **{}**\n",
                            counts[0], input.results.size(), counts[1], counts[2],
                            parity_verdict_name(overall_verdict(input.results)));
}

OrderedJson parity_json(const ParityReportInput& input) {
  OrderedJson prompts = OrderedJson::array();
  for (std::size_t i = 0; i < input.cases.size(); ++i) {
    const ParityResult& result = input.results[i];
    OrderedJson entry = {{"prompt", input.cases[i].prompt},
                         {"window", result.window},
                         {"equal", result.equal},
                         {"first_difference", nullptr},
                         {"margin", nullptr},
                         {"differences", result.differences.size()},
                         {"logits", nullptr},
                         {"tokens_per_second", result.tokens_per_second},
                         {"reference_tokens_per_second", nullptr},
                         {"verdict", parity_verdict_name(result.verdict)}};
    if (!result.differences.empty()) {
      entry["first_difference"] = result.differences.front().position;
      entry["margin"] = result.differences.front().margin;
    }
    if (result.logits)
      entry["logits"] = {{"relative_rms", result.logits->relative_rms},
                         {"relative_max", result.logits->relative_max}};
    if (input.cases[i].tokens_per_second > 0)
      entry["reference_tokens_per_second"] = input.cases[i].tokens_per_second;
    prompts.push_back(std::move(entry));
  }
  return {{"model", input.model},
          {"reference", input.reference},
          {"reference_check", input.reference_check ? to_json(*input.reference_check) : OrderedJson(nullptr)},
          {"margin_tolerance", input.options.margin_tolerance},
          {"logit_tolerance", input.options.logit_tolerance},
          {"prompts", prompts},
          {"verdict", parity_verdict_name(overall_verdict(input.results))}};
}

}  // namespace assay
