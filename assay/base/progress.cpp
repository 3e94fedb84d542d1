#include "assay/base/progress.h"

#include <utility>

namespace assay {

Progress::Progress(ProgressSink* sink, std::string label, std::uint64_t total, std::string unit)
    : sink_(sink), label_(std::move(label)), unit_(std::move(unit)), total_(total) {
  if (sink_ != nullptr) sink_->begin(*this);
}

Progress::~Progress() {
  if (sink_ != nullptr) sink_->end(*this);
}

void Progress::advance(std::uint64_t amount) {
  if (sink_ == nullptr) return;
  const std::lock_guard lock(mutex_);
  done_ += amount;
  sink_->advance(*this);
}

}  // namespace assay
