#include "assay/tokenizer/text_budget.h"

#include <ctime>

#include "assay/base/error.h"

namespace assay {
namespace {

std::int64_t nanoseconds(clockid_t clock) {
  std::timespec now{};
  ::clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

TextBudget::TextBudget(std::size_t text_bytes, const std::string& origin, double seconds)
    : origin_(origin),
      text_bytes_(text_bytes),
      bytes_left_(kGrowth * text_bytes + kFreeBytes),
      seconds_(seconds),
      wall_start_(nanoseconds(CLOCK_MONOTONIC)),
      processor_start_(nanoseconds(CLOCK_THREAD_CPUTIME_ID)) {}

void TextBudget::check_bytes(std::size_t bytes) const {
  if (bytes > bytes_left_)
    fail(
        "{}: the normalizer makes more than {} bytes of a text of {}; it may grow {} times and by 1 MiB at "
        "most",
        origin_, kGrowth * text_bytes_ + kFreeBytes, text_bytes_, kGrowth);
}

void TextBudget::spend_bytes(std::size_t bytes) {
  check_bytes(bytes);
  bytes_left_ -= bytes;
}

void TextBudget::look_at_clock(const std::string& what) {
  until_look_ = kBetweenLooks;
  // The wall clock costs no system call, and a thread cannot have used more than has passed.
  const auto allowed = static_cast<std::int64_t>(seconds_ * 1e9);
  if (nanoseconds(CLOCK_MONOTONIC) - wall_start_ <= allowed) return;
  if (nanoseconds(CLOCK_THREAD_CPUTIME_ID) - processor_start_ > allowed)
    fail("{}: does not come to an end: more than {:.1f} s for a text of {} bytes", what, seconds_,
         text_bytes_);
}

}  // namespace assay
