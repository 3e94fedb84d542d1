#include "assay/base/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <string_view>

#include "assay/base/printable.h"

namespace assay {
namespace {

constexpr std::string_view kErase = "\r\x1b[K";
std::atomic<bool> enabled{false};
std::atomic<int> drawn{0};  // bars that may be on the terminal

}  // namespace

Progress::Progress(const std::string& label, std::uint64_t total, std::string unit)
    : label_(printable(label)),
      unit_(std::move(unit)),
      total_(std::max<std::uint64_t>(total, 1)),
      visible_(enabled && ::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      drawn_(start_ - std::chrono::seconds(1)) {
  if (visible_) ++drawn;
}

Progress::~Progress() {
  if (!visible_) return;
  --drawn;
  fmt::print(stderr, "{}", kErase);
}

void Progress::erase_all() {
  enabled = false;
  if (drawn > 0) [[maybe_unused]]
    const ssize_t written = ::write(STDERR_FILENO, kErase.data(), kErase.size());
}

void Progress::set_enabled(bool value) {
  enabled = value;
}

void Progress::advance(std::uint64_t amount) {
  const std::lock_guard lock(mutex_);
  done_ += amount;
  if (visible_ && enabled && seconds_since(drawn_) > 0.1) draw();
}

void Progress::draw() {
  constexpr int kWidth = 30;
  drawn_ = Clock::now();
  const double fraction = std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
  const double elapsed = seconds_since(start_);
  const double left = fraction > 0 ? elapsed / fraction - elapsed : 0;
  const int filled = static_cast<int>(fraction * kWidth);
  fmt::print(stderr, "\r{} [{}{}] {:3.0f}% {}/{} {} {:.0f}s left\x1b[K", label_, std::string(filled, '='),
             std::string(kWidth - filled, ' '), 100 * fraction, done_, total_, unit_, left);
  std::fflush(stderr);
}

}  // namespace assay
