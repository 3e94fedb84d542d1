#pragma once
// Greedy parity with another engine or another copy of the model: token ids must be equal wherever the
// reference's choice was clear. A difference at a small top-2 margin proves nothing and is called
// undecidable, never a pass.
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/measure/reference_check.h"
#include "assay/model/model.h"
#include "assay/tokenizer/tokenizer.h"

namespace assay {

/// What the reference did with one prompt.
struct ParityCase {
  std::string prompt;  // text, for the report
  std::vector<TokenId> prompt_ids;
  std::vector<TokenId> new_ids;  // greedy
  std::vector<float> margins;    // top-1 minus top-2 logit of the reference at each new id
  std::size_t window = 0;        // leading new ids that must agree; 0: all
  double tokens_per_second = 0;  // of the reference, 0 where unknown
};

/// Cases of a reference file: {"generations": [{prompt, prompt_ids, new_ids, top2_margins}]} or
/// {"prompts": [{text, ids, new_ids, margins}]}, each with an optional "window" and "tok_s". Throws Error.
std::vector<ParityCase> parse_parity_cases(const Json& json, const std::string& origin);
/// The same by running a reference model greedily, `tokens` ids a prompt.
std::vector<ParityCase> generate_parity_cases(const Model& reference, const Tokenizer& tokenizer,
                                              const std::vector<std::string>& prompts, std::size_t tokens);

enum class ParityVerdict { equal, undecidable, mismatch };
std::string_view parity_verdict_name(ParityVerdict verdict);

/// Differences of two models' logits, relative to the RMS of the reference's.
struct LogitDifference {
  double relative_rms = 0, relative_max = 0;
};

struct ParityDifference {
  std::size_t position = 0;  // among the new ids
  TokenId expected = 0, found = 0;
  float margin = 0;  // the reference's
};

struct ParityResult {
  std::size_t window = 0;  // new ids compared
  std::size_t equal = 0;  // of them equal; after a difference the comparison goes on from the reference's ids
  std::vector<ParityDifference> differences;
  std::optional<LogitDifference> logits;
  double tokens_per_second = 0;  // of the model
  ParityVerdict verdict = ParityVerdict::equal;
};

struct ParityOptions {
  double margin_tolerance = 0.01;  // a reference choice below it is undecidable
  double logit_tolerance = 1e-3;   // relative RMS; only where the reference is a model
};

/// Runs `model` greedily through its decode path against one case; with `reference`, logits of the whole
/// sequence too. Throws Error for ids outside the vocabulary.
ParityResult check_parity(const Model& model, const ParityCase& reference_case, const Model* reference,
                          const ParityOptions& options = {});

/// The Markdown report: one section a prompt and a summary.
struct ParityReportInput {
  std::string model, reference;
  std::vector<ParityCase> cases;
  std::vector<ParityResult> results;
  ParityOptions options;
  std::optional<ReferenceCheck>
      reference_check;  // of a reference model; said, not judged: copies are compared too
};
std::string render_parity_report(const ParityReportInput& input, const Tokenizer& tokenizer);
OrderedJson parity_json(const ParityReportInput& input);
/// mismatch if any case is one, else undecidable if any is, else equal.
ParityVerdict overall_verdict(const std::vector<ParityResult>& results);

}  // namespace assay
