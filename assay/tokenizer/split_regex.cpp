#define PCRE2_CODE_UNIT_WIDTH 8
#include "assay/tokenizer/split_regex.h"

#include <pcre2.h>

#include <algorithm>
#include <array>

#include "assay/base/error.h"
#include "assay/base/quote.h"
#include "assay/tokenizer/regex_dialect.h"

namespace assay {
namespace {

constexpr std::size_t kLongestPattern = 64u << 10;
// The engine counts backtracking steps anew at every place where a match may begin, and does not say how many
// there were. So it gets few steps and few places first; where they are not enough, more steps at one place
// after the other. In between the clock is looked at.
constexpr std::uint32_t kFirstLimit = 64, kLimitFactor = 8, kMatchLimit = 10'000'000;
constexpr std::size_t kPlaces = 32;              // bytes
constexpr std::uint32_t kHeapLimit = 64u << 10;  // KiB of one match

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

PCRE2_SPTR units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

/// Where the character behind the one at or before `at` begins.
std::size_t character_behind(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0u) == 0x80u;) ++at;
  return at;
}

struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

SplitRegex::SplitRegex(const std::string& pattern, const std::string& origin)
    : description_(fmt::format("{}: split pattern {}", origin, quote(pattern))) {
  if (pattern.size() > kLongestPattern)
    fail("{}: split pattern of {} bytes, at most {} expected", origin, pattern.size(), kLongestPattern);
  const std::string translated = translate_oniguruma(pattern, origin);
  const std::unique_ptr<pcre2_compile_context, FreeContext> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);  // what "." stops at
  int problem = 0;
  PCRE2_SIZE where = 0;
  pcre2_code* code =
      pcre2_compile(units(translated), translated.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_USE_OFFSET_LIMIT,
                    &problem, &where, context.get());
  if (code == nullptr)
    fail("{}: cannot be compiled: {} (near byte {})", description_, message_of(problem), where);
  code_ = std::shared_ptr<const void>(code, [](const void* compiled) {
    pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(compiled)));
  });
  std::uint32_t matches_empty = 0;
  pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) fail("{}: can match the empty string", description_);
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it fails, the interpreter gives the same matches
}

std::vector<TextSpan> SplitRegex::find_all(std::string_view text, TextBudget& budget) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_data, FreeContext> data(pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, FreeContext> context(pcre2_match_context_create(nullptr));
  pcre2_set_heap_limit(context.get(), kHeapLimit);
  std::vector<TextSpan> spans;
  std::uint32_t limit = kFirstLimit;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t last_place = limit == kFirstLimit ? at + kPlaces : at;
    pcre2_set_match_limit(context.get(), limit);
    pcre2_set_offset_limit(context.get(), last_place);
    // Without NO_UTF_CHECK every match would read the whole text again.
    const auto match = [&](std::uint32_t options) {
      return pcre2_match(code, units(text), text.size(), at, PCRE2_NO_UTF_CHECK | options, data.get(),
                         context.get());
    };
    int status = match(0);
    if (status == PCRE2_ERROR_JIT_STACKLIMIT) status = match(PCRE2_NO_JIT);
    // Each step may run over all of the text.
    budget.spend_time(text.size() + limit, description_);
    if (status == PCRE2_ERROR_MATCHLIMIT && limit < kMatchLimit) {
      limit = std::min(limit * kLimitFactor, kMatchLimit);
      continue;
    }
    if (status == PCRE2_ERROR_NOMATCH) {
      at = character_behind(text, last_place);
    } else if (status == PCRE2_ERROR_MATCHLIMIT) {
      fail("{}: cannot be matched: it does not come to an end within {} steps (at byte {} of the text)",
           description_, kMatchLimit, at);
    } else if (status < 0) {
      fail("{}: cannot be matched: {} (at byte {} of the text)", description_, message_of(status), at);
    } else {
      const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
      if (ends[1] <= ends[0])
        fail("{}: matched the empty string at byte {} of the text", description_, ends[0]);
      spans.push_back({ends[0], ends[1]});
      at = ends[1];
    }
    limit = kFirstLimit;
  }
  return spans;
}

}  // namespace assay
