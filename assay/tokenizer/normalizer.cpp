#include "assay/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "assay/base/error.h"
#include "assay/tokenizer/quote.h"

namespace assay {
namespace {

/// Characters below U+0300 never change under canonical composition unless one above follows.
bool is_composed_at_sight(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
}

std::string compose(std::string_view text) {
  if (is_composed_at_sight(text)) return std::string(text);
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t length = utf8proc_map(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
      &composed, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(composed, &std::free);
  if (length < 0) fail("text of {} bytes cannot be brought to NFC: {}", text.size(), utf8proc_errmsg(length));
  return {reinterpret_cast<const char*>(composed), static_cast<std::size_t>(length)};
}

std::string replace_all(std::string_view text, const std::string& pattern, const std::string& content) {
  std::string result;
  std::size_t done = 0;
  for (std::size_t at = text.find(pattern); at != std::string_view::npos; at = text.find(pattern, done)) {
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

std::string Normalizer::apply(std::string_view text) const {
  std::string result(text);
  for (const Step& step : steps_) {
    if (step.kind == Kind::nfc) result = compose(result);
    if (step.kind == Kind::prepend && !result.empty()) result.insert(0, step.content);
    if (step.kind == Kind::replace) result = replace_all(result, step.pattern, step.content);
  }
  return result;
}

}  // namespace assay
