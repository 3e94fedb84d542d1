#include "assay/measure/parity.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "assay/base/clock.h"
#include "assay/base/error.h"
#include "assay/runtime/session.h"

namespace assay {
namespace {

constexpr std::size_t kMaxIds = std::size_t{1} << 20;

const Json& array_at(const Json& object, const char* key, const std::string& origin) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end() || !found->is_array())
    fail("{}: key \"{}\" is missing or no list", origin, key);
  if (found->size() > kMaxIds)
    fail("{}: key \"{}\" has {} entries, at most {} expected", origin, key, found->size(), kMaxIds);
  return *found;
}

std::vector<TokenId> parse_ids(const Json& object, const char* key, const std::string& origin) {
  std::vector<TokenId> ids;
  for (const Json& entry : array_at(object, key, origin)) {
    if (!entry.is_number_integer() || entry < 0 || entry > std::numeric_limits<TokenId>::max())
      fail("{}: key \"{}\" entry {} is {}, a token id expected", origin, key, ids.size(),
           entry.dump().substr(0, 40));
    ids.push_back(entry.get<TokenId>());
  }
  return ids;
}

std::vector<float> parse_margins(const Json& object, const char* key, const std::string& origin) {
  std::vector<float> margins;
  for (const Json& entry : array_at(object, key, origin)) {
    if (!entry.is_number())
      fail("{}: key \"{}\" entry {} is {}, a margin in logits expected", origin, key, margins.size(),
           entry.dump().substr(0, 40));
    margins.push_back(entry.get<float>());
  }
  return margins;
}

/// The two spellings of a reference file.
struct Spelling {
  const char *list, *prompt, *prompt_ids, *margins;
};
constexpr Spelling kSpellings[] = {{"generations", "prompt", "prompt_ids", "top2_margins"},
                                   {"prompts", "text", "ids", "margins"}};

ParityCase parse_case(const Json& entry, const Spelling& spelling, const std::string& origin) {
  ParityCase result;
  result.prompt = json_get_or<std::string>(entry, spelling.prompt, "", origin);
  result.prompt_ids = parse_ids(entry, spelling.prompt_ids, origin);
  result.new_ids = parse_ids(entry, "new_ids", origin);
  result.margins = parse_margins(entry, spelling.margins, origin);
  result.window = static_cast<std::size_t>(json_get_or<std::uint64_t>(entry, "window", 0, origin));
  result.tokens_per_second = json_get_or<double>(entry, "tok_s", 0, origin);
  if (result.prompt_ids.empty() || result.new_ids.empty())
    fail("{}: prompt ids and new ids expected, found {} and {}", origin, result.prompt_ids.size(),
         result.new_ids.size());
  if (result.margins.size() != result.new_ids.size())
    fail("{}: {} margins for {} new ids, one each expected", origin, result.margins.size(),
         result.new_ids.size());
  if (result.window > result.new_ids.size())
    fail("{}: \"window\" of {}, at most the {} new ids expected", origin, result.window,
         result.new_ids.size());
  return result;
}

std::vector<TokenId> sequence_of(const ParityCase& reference_case, std::size_t new_ids) {
  std::vector<TokenId> ids = reference_case.prompt_ids;
  ids.insert(ids.end(), reference_case.new_ids.begin(),
             reference_case.new_ids.begin() + static_cast<std::ptrdiff_t>(new_ids));
  return ids;
}

LogitDifference compare_logits(const Model& model, const Model& reference, const std::vector<TokenId>& ids) {
  const std::vector<float> found = compute_logits(model, ids, 0),
                           expected = compute_logits(reference, ids, 0);
  if (found.size() != expected.size())
    fail("logits of {} positions and vocabulary together, {} expected: the vocabularies differ", found.size(),
         expected.size());
  double squares = 0, gaps = 0, largest = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double value = static_cast<double>(expected[i]), gap = static_cast<double>(found[i]) - value;
    if (!std::isfinite(gap)) fail("logit {} is not finite: {} found, {} expected", i, found[i], expected[i]);
    squares += value * value;
    gaps += gap * gap;
    largest = std::max(largest, std::fabs(gap));
  }
  const double rms = std::sqrt(squares / static_cast<double>(found.size()));
  const double gap_rms = std::sqrt(gaps / static_cast<double>(found.size()));
  return rms > 0 ? LogitDifference{gap_rms / rms, largest / rms} : LogitDifference{gap_rms, largest};
}

ParityVerdict judge(const ParityResult& result, const ParityOptions& options) {
  ParityVerdict verdict = ParityVerdict::equal;
  if (result.logits && result.logits->relative_rms > options.logit_tolerance) return ParityVerdict::mismatch;
  for (const ParityDifference& difference : result.differences) {
    if (static_cast<double>(difference.margin) > options.margin_tolerance) return ParityVerdict::mismatch;
    verdict = ParityVerdict::undecidable;
  }
  return verdict;
}

void check_ids(const Model& model, const ParityCase& reference_case) {
  for (const std::vector<TokenId>* ids : {&reference_case.prompt_ids, &reference_case.new_ids})
    for (const TokenId id : *ids)
      if (id >= model.config().vocabulary)
        fail(
            "token id {} of the reference, ids below the vocabulary of {} expected: another model's "
            "reference?",
            id, model.config().vocabulary);
}

}  // namespace

std::vector<ParityCase> parse_parity_cases(const Json& json, const std::string& origin) {
  for (const Spelling& spelling : kSpellings) {
    if (!json.is_object() || !json.contains(spelling.list)) continue;
    std::vector<ParityCase> cases;
    for (const Json& entry : array_at(json, spelling.list, origin))
      cases.push_back(parse_case(entry, spelling,
                                 origin + ": " + spelling.list + "[" + std::to_string(cases.size()) + "]"));
    if (cases.empty()) fail("{}: \"{}\" is empty, at least one prompt expected", origin, spelling.list);
    return cases;
  }
  fail("{}: neither \"generations\" nor \"prompts\" found: not a parity reference", origin);
}

std::vector<ParityCase> generate_parity_cases(const Model& reference, const Tokenizer& tokenizer,
                                              const std::vector<std::string>& prompts, std::size_t tokens) {
  std::vector<ParityCase> cases;
  for (const std::string& prompt : prompts) {
    ParityCase result;
    result.prompt = prompt;
    result.prompt_ids = tokenizer.encode(prompt);
    if (tokenizer.adds_bos && tokenizer.bos)
      result.prompt_ids.insert(result.prompt_ids.begin(), *tokenizer.bos);
    if (result.prompt_ids.empty()) fail("prompt {} is empty, text expected", cases.size());
    GenerateOptions options;
    options.max_tokens = static_cast<int>(tokens);
    options.stop_at_end_token = false;
    const auto start = Clock::now();
    for (const GeneratedToken& token : generate(reference, result.prompt_ids, options)) {
      result.new_ids.push_back(token.id);
      result.margins.push_back(token.margin);
    }
    result.tokens_per_second = static_cast<double>(result.new_ids.size()) / seconds_since(start);
    cases.push_back(std::move(result));
  }
  return cases;
}

std::string_view parity_verdict_name(ParityVerdict verdict) {
  switch (verdict) {
    case ParityVerdict::equal:
      return "equal";
    case ParityVerdict::undecidable:
      return "undecidable at small margin";
    case ParityVerdict::mismatch:
      return "MISMATCH";
  }
  return "";
}

ParityResult check_parity(const Model& model, const ParityCase& reference_case, const Model* reference,
                          const ParityOptions& options) {
  check_ids(model, reference_case);
  ParityResult result;
  result.window = reference_case.window > 0 ? reference_case.window : reference_case.new_ids.size();
  double seconds = 0;
  std::size_t generated = 0;
  for (std::size_t done = 0; done < result.window;) {
    GenerateOptions generation;
    generation.max_tokens = static_cast<int>(result.window - done);
    generation.stop_at_end_token = false;
    // Stops at the first difference: what follows it answers another prefix.
    std::size_t position = done;
    const auto start = Clock::now();
    generate(model, sequence_of(reference_case, done), generation, [&](const GeneratedToken& token) {
      const TokenId expected = reference_case.new_ids[position];
      if (token.id == expected)
        ++result.equal;
      else
        result.differences.push_back({position, expected, token.id, reference_case.margins[position]});
      ++position;
      return token.id == expected;
    });
    seconds += seconds_since(start);
    if (position == done) fail("the model generated nothing after {} tokens", done);
    generated += position - done;
    done = position;
  }
  result.tokens_per_second = static_cast<double>(generated) / seconds;
  if (reference != nullptr)
    result.logits = compare_logits(model, *reference, sequence_of(reference_case, result.window));
  result.verdict = judge(result, options);
  return result;
}

ParityVerdict overall_verdict(const std::vector<ParityResult>& results) {
  ParityVerdict worst = ParityVerdict::equal;
  for (const ParityResult& result : results) worst = std::max(worst, result.verdict);
  return worst;
}

}  // namespace assay
