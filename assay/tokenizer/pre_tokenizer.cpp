#include "assay/tokenizer/pre_tokenizer.h"

#include <algorithm>

#include "assay/base/error.h"
#include "assay/base/quote.h"

namespace assay {

const std::string kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

struct MarkedSpan {
  TextSpan span;
  bool match;
};

/// Matches and the stretches between them, in order, covering the word.
std::vector<MarkedSpan> cover(std::string_view word, const SplitStep& step, TextBudget& budget) {
  std::vector<MarkedSpan> cover;
  std::size_t done = 0;
  for (const TextSpan& match : step.regex.find_all(word, budget)) {
    if (done < match.begin) cover.push_back({{done, match.begin}, step.invert});
    cover.push_back({match, !step.invert});
    done = match.end;
  }
  if (done < word.size()) cover.push_back({{done, word.size()}, step.invert});
  return cover;
}

std::vector<TextSpan> merge_with_next(const std::vector<MarkedSpan>& cover) {
  std::vector<TextSpan> spans;
  bool after_match = false;  // walking backwards
  for (auto marked = cover.rbegin(); marked != cover.rend(); ++marked) {
    if (marked->match && !after_match && !spans.empty())
      spans.back().begin = marked->span.begin;
    else
      spans.push_back(marked->span);
    after_match = marked->match;
  }
  std::reverse(spans.begin(), spans.end());
  return spans;
}

std::vector<TextSpan> apply_behavior(SplitBehavior behavior, const std::vector<MarkedSpan>& cover) {
  if (behavior == SplitBehavior::merged_with_next) return merge_with_next(cover);
  std::vector<TextSpan> spans;
  const MarkedSpan* previous = nullptr;
  for (const MarkedSpan& marked : cover) {
    const bool joins =
        previous != nullptr &&
        ((behavior == SplitBehavior::contiguous && marked.match == previous->match) ||
         (behavior == SplitBehavior::merged_with_previous && marked.match && !previous->match));
    if (joins)
      spans.back().end = marked.span.end;
    else if (behavior != SplitBehavior::removed || !marked.match)
      spans.push_back(marked.span);
    previous = &marked;
  }
  return spans;
}

SplitBehavior parse_behavior(const std::string& name, const std::string& origin) {
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  fail("{}: split behavior {} is unknown", origin, quote(name));
}

/// The literal as a pattern that matches just it.
std::string escape(const std::string& literal) {
  static constexpr std::string_view kSyntax = R"(\[](){}.*+?^$|#&-~)";
  std::string pattern;
  for (const char c : literal) {
    if (kSyntax.find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

std::string parse_pattern(const Json& json, const std::string& origin) {
  const auto pattern = json.find("pattern");
  if (pattern == json.end() || !pattern->is_object() || pattern->size() != 1)
    fail("{}: a Split needs a pattern that is a Regex or a String", origin);
  return pattern->contains("Regex") ? json_get<std::string>(*pattern, "Regex", origin)
                                    : escape(json_get<std::string>(*pattern, "String", origin));
}

class Parser {
 public:
  explicit Parser(const std::string& origin) : origin_(origin) {}

  void add(const Json& json) {
    constexpr std::size_t kMostSplits = 64;
    if (result_.steps.size() >= kMostSplits)
      fail("{}: a pre-tokenizer of more than {} steps", origin_, kMostSplits);
    const auto type = json_get<std::string>(json, "type", origin_);
    if (type == "Sequence") return add_sequence(json);
    if (byte_level_)
      fail("{}: pre-tokenizer {} behind ByteLevel is not supported (ByteLevel must be the last)", origin_,
           type);
    if (type == "Split") {
      result_.steps.push_back({SplitRegex(parse_pattern(json, origin_), origin_),
                               parse_behavior(json_get<std::string>(json, "behavior", origin_), origin_),
                               json_get_or<bool>(json, "invert", false, origin_)});
    } else if (type == "Digits") {
      const bool individual = json_get_or<bool>(json, "individual_digits", false, origin_);
      result_.steps.push_back({SplitRegex(individual ? R"(\p{N})" : R"(\p{N}+)", origin_)});
    } else if (type == "ByteLevel") {
      byte_level_ = true;
      result_.prefix_step = result_.steps.size();
      result_.add_prefix_space = json_get_or<bool>(json, "add_prefix_space", true, origin_);
      if (json_get_or<bool>(json, "use_regex", true, origin_))
        result_.steps.push_back({SplitRegex(kGpt2Pattern, origin_)});
    } else {
      fail("{}: pre-tokenizer {} is not supported (Split, Digits, ByteLevel and Sequence are)", origin_,
           quote(type));
    }
  }

  PreTokenizer finish() {
    if (!byte_level_)
      fail("{}: the pre-tokenizer has no ByteLevel part; only byte-level BPE is supported", origin_);
    return std::move(result_);
  }

 private:
  void add_sequence(const Json& json) {
    const auto parts = json.find("pretokenizers");
    if (parts == json.end() || !parts->is_array())
      fail("{}: a Sequence needs a list \"pretokenizers\"", origin_);
    for (const Json& part : *parts) add(part);
  }

  const std::string& origin_;
  PreTokenizer result_;
  bool byte_level_ = false;
};

}  // namespace

std::vector<std::string_view> PreTokenizer::split(std::string_view text, std::deque<std::string>& storage,
                                                  TextBudget& budget) const {
  std::vector<std::string_view> words{text};
  const auto add_prefixes = [&] {
    for (std::string_view& word : words)
      if (!word.starts_with(' ')) word = storage.emplace_back(" " + std::string(word));
  };
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (add_prefix_space && i == prefix_step) add_prefixes();
    std::vector<std::string_view> next;
    for (const std::string_view word : words)
      for (const TextSpan& span : apply_behavior(steps[i].behavior, cover(word, steps[i], budget)))
        next.push_back(word.substr(span.begin, span.end - span.begin));
    words = std::move(next);
  }
  if (add_prefix_space && prefix_step == steps.size()) add_prefixes();
  return words;
}

PreTokenizer parse_pre_tokenizer(const Json& json, const std::string& origin) {
  Parser parser(origin);
  parser.add(json);
  return parser.finish();
}

}  // namespace assay
