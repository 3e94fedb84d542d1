#pragma once
// Machine-readable progress on stdout, one line an event: "@@lattice " and JSON. Readers go by key and ignore
// keys they do not know. Printed only when asked for (--events).
#include <string>

namespace assay {

struct PerplexityEvent {
  std::string label;
  double perplexity = 0, nll_mean = 0;  // nats
  std::size_t tokens = 0, windows = 0;  // tokens: scored
  double seconds = 0;
};

std::string event_line(const PerplexityEvent& event);
std::string ready_event_line();
std::string error_event_line(const std::string& message);

}  // namespace assay
