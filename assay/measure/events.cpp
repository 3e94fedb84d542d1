#include "assay/measure/events.h"

#include <cmath>

#include "assay/base/json_text.h"

namespace assay {
namespace {

std::string line_of(const OrderedJson& json) {
  // Paths and messages may hold bytes that are no UTF-8: replaced, so that the line stays JSON.
  return "@@lattice " + json_text(json);
}

}  // namespace

std::string event_line(const PerplexityEvent& event) {
  return line_of({{"ev", "perplexity"},
                  {"label", event.label},
                  {"ppl", event.perplexity},
                  {"nll", event.nll_mean},
                  {"tokens", event.tokens},
                  {"windows", event.windows},
                  {"ms", std::llround(1000 * event.seconds)}});
}

std::string ready_event_line() {
  return line_of({{"ev", "ready"}});
}

std::string error_event_line(const std::string& message) {
  return line_of({{"ev", "error"}, {"msg", message}});
}

}  // namespace assay
