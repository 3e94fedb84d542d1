#include "assay/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <span>

#include "assay/base/error.h"
#include "assay/base/quote.h"
#include "assay/base/text_search.h"
#include "assay/base/utf8.h"

namespace assay {
namespace {

constexpr std::size_t kMostSteps = 64;
constexpr auto kCanonical = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);

/// Characters below U+0300 never change under canonical composition unless one above follows.
bool is_composed_at_sight(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
}

/// Canonical Ordering (UAX #15): sorts each run of non-starters by combining class, equal ones in order.
/// utf8proc's own sort is quadratic in the run, and a text may be one run.
void order_marks(std::vector<utf8proc_int32_t>& codes) {
  const auto combining_class = [](utf8proc_int32_t code) {
    return utf8proc_get_property(code)->combining_class;
  };
  for (auto begin = codes.begin(); begin != codes.end();) {
    const auto end = std::find_if(begin, codes.end(), [&](auto code) { return combining_class(code) == 0; });
    if (end - begin > 1) std::ranges::stable_sort(begin, end, {}, combining_class);
    begin = end == codes.end() ? end : end + 1;
  }
}

std::vector<utf8proc_int32_t> decompose(std::string_view text) {
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Character character = decode_utf8(text, at);
    at += character.length;
    std::array<utf8proc_int32_t, 8> parts{};  // canonical decompositions have four at most
    const utf8proc_ssize_t count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(character.code),
                                                           parts.data(), parts.size(), kCanonical, nullptr);
    if (count < 0 || static_cast<std::size_t>(count) > parts.size())
      fail("U+{:04X} cannot be decomposed: {}", static_cast<std::uint32_t>(character.code),
           utf8proc_errmsg(count));
    codes.insert(codes.end(), parts.begin(), parts.begin() + count);
  }
  return codes;
}

std::string compose(std::string_view text) {
  if (is_composed_at_sight(text)) return std::string(text);
  std::vector<utf8proc_int32_t> codes = decompose(text);
  order_marks(codes);
  const utf8proc_ssize_t count =
      utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), kCanonical);
  if (count < 0) fail("text of {} bytes cannot be brought to NFC: {}", text.size(), utf8proc_errmsg(count));
  std::string composed;
  composed.reserve(text.size());
  for (const utf8proc_int32_t code : std::span(codes).first(static_cast<std::size_t>(count)))
    append_utf8(composed, static_cast<char32_t>(code));
  return composed;
}

std::string replace_all(std::string_view text, const std::string& pattern, const std::string& content,
                        const TextBudget& budget) {
  std::string result;
  std::size_t done = 0;
  for (std::size_t at = find_linearly(text, pattern); at != std::string_view::npos;
       at = find_linearly(text, pattern, done)) {
    budget.check_bytes(result.size() + (at - done) + content.size());
    result.append(text, done, at - done).append(content);
    done = at + pattern.size();
  }
  return result.append(text, done);
}

}  // namespace

Normalizer::Normalizer(const Json& json, const std::string& origin) {
  if (!json.is_null()) add(json, origin);
}

Normalizer Normalizer::nfc() {
  Normalizer normalizer;
  normalizer.steps_.push_back({});
  return normalizer;
}

void Normalizer::add(const Json& json, const std::string& origin) {
  if (steps_.size() >= kMostSteps) fail("{}: a normalizer of more than {} steps", origin, kMostSteps);
  const auto type = json_get<std::string>(json, "type", origin);
  if (type == "NFC") {
    steps_.push_back({Kind::nfc, {}, {}});
  } else if (type == "Prepend") {
    steps_.push_back({Kind::prepend, {}, json_get<std::string>(json, "prepend", origin)});
  } else if (type == "Replace") {
    const auto pattern = json.find("pattern");
    if (pattern == json.end() || !pattern->contains("String"))
      fail("{}: normalizer Replace is supported with a String pattern only", origin);
    Step step{Kind::replace, json_get<std::string>(*pattern, "String", origin),
              json_get<std::string>(json, "content", origin)};
    if (step.pattern.empty()) fail("{}: normalizer Replace has an empty pattern", origin);
    steps_.push_back(std::move(step));
  } else if (type == "Sequence") {
    const auto parts = json.find("normalizers");
    if (parts == json.end() || !parts->is_array())
      fail("{}: a Sequence needs a list \"normalizers\"", origin);
    for (const Json& part : *parts) add(part, origin);
  } else {
    fail("{}: normalizer {} is not supported (NFC, Prepend, Replace and Sequence are)", origin, quote(type));
  }
}

bool Normalizer::keeps_spaces() const {
  return std::all_of(steps_.begin(), steps_.end(), [](const Step& step) { return step.kind == Kind::nfc; });
}

std::string Normalizer::apply(std::string_view text, TextBudget& budget) const {
  std::string result(text);
  for (const Step& step : steps_) {
    if (step.kind == Kind::nfc) result = compose(result);
    if (step.kind == Kind::prepend && !result.empty()) {
      budget.check_bytes(result.size() + step.content.size());
      result.insert(0, step.content);
    }
    if (step.kind == Kind::replace) result = replace_all(result, step.pattern, step.content, budget);
  }
  budget.spend_bytes(result.size());
  return result;
}

}  // namespace assay
