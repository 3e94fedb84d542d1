#include "assay/measure/windows.h"

#include <algorithm>

#include "assay/base/error.h"

namespace assay {
namespace {

std::vector<Window> list_sliding(std::size_t tokens, std::size_t window, std::size_t stride) {
  if (stride < 1 || stride >= window)
    fail("--stride {}: 1 to window - 1 = {} expected (a larger stride would leave tokens unscored)", stride,
         window - 1);
  if (tokens < 2) fail("the text has {} token(s), at least 2 expected: the first is never scored", tokens);
  std::vector<Window> windows;
  std::size_t last = 0;  // index of the last scored token
  for (std::size_t begin = 0;; begin += stride) {
    const std::size_t end = begin + std::min(window, tokens - begin);
    windows.push_back({begin, end, last + 1, end});
    last = end - 1;
    if (end == tokens) return windows;
  }
}

std::vector<Window> list_chunks(std::size_t tokens, std::size_t window) {
  if (tokens < window)
    fail("the text has {} tokens, at least one whole chunk of {} expected (chunked protocol)", tokens,
         window);
  std::vector<Window> windows;
  for (std::size_t begin = 0; tokens - begin >= window; begin += window)
    windows.push_back({begin, begin + window, begin + window / 2, begin + window});
  return windows;
}

}  // namespace

std::string_view protocol_name(Protocol protocol) {
  return protocol == Protocol::sliding ? "sliding" : "chunked";
}

std::vector<Window> list_windows(std::size_t tokens, const WindowOptions& options) {
  if (options.window < 2) fail("--window {}: at least 2 expected", options.window);
  return options.protocol == Protocol::sliding ? list_sliding(tokens, options.window, options.stride)
                                               : list_chunks(tokens, options.window);
}

std::size_t count_scored(const std::vector<Window>& windows) {
  std::size_t scored = 0;
  for (const Window& window : windows) scored += window.scored();
  return scored;
}

}  // namespace assay
