#pragma once
// Which tokens a perplexity protocol runs and which it scores. Pure index arithmetic: no model, no text.
// Perplexities of different protocols, windows or strides are not comparable.
#include <cstddef>
#include <string_view>
#include <vector>

namespace assay {

enum class Protocol {
  sliding,  // overlapping windows; every token but the first is scored exactly once
  chunked   // disjoint chunks, the second half of each scored (llama.cpp's way); a last partial chunk is
            // dropped
};

std::string_view protocol_name(Protocol protocol);  // "sliding", "chunked"

struct WindowOptions {
  Protocol protocol = Protocol::sliding;
  std::size_t window = 512;
  std::size_t stride = 256;  // sliding only
};

/// Tokens [begin, end) run from fresh state; targets [first_target, end_target) are scored, the target at
/// index t from the logits behind token t - 1. Targets of successive windows ascend and never repeat.
struct Window {
  std::size_t begin = 0, end = 0;
  std::size_t first_target = 0, end_target = 0;

  std::size_t scored() const { return end_target - first_target; }
  /// Tokens that must be run: what follows the last scored target's predecessor influences nothing.
  std::size_t inputs() const { return end_target - 1 - begin; }
};

/// Windows over a text of `tokens` tokens. Throws Error for a window below 2, a stride outside [1, window)
/// and a text too short to score anything.
std::vector<Window> list_windows(std::size_t tokens, const WindowOptions& options);

/// Scored targets of all windows.
std::size_t count_scored(const std::vector<Window>& windows);

}  // namespace assay
