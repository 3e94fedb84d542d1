#include "app/progress_bar.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "assay/base/clock.h"
#include "assay/base/printable.h"

namespace assay::app {
namespace {

constexpr std::string_view kErase = "\r\x1b[K";

class ProgressBar final : public ProgressSink {
 public:
  void begin(const Progress& work) override {
    const std::lock_guard lock(mutex_);
    begun_[&work] = Clock::now();
  }
  void advance(const Progress& work) override {
    const std::lock_guard lock(mutex_);
    if (!visible_ || (on_screen_ && seconds_since(drawn_) < 0.1)) return;
    drawn_ = Clock::now();
    on_screen_ = true;
    draw(work, seconds_since(begun_.at(&work)));
  }
  void end(const Progress& work) noexcept override {
    const std::lock_guard lock(mutex_);
    begun_.erase(&work);
    erase();
  }
  void finish() {
    const std::lock_guard lock(mutex_);
    erase();
    visible_ = false;
  }

 private:
  static void draw(const Progress& work, double elapsed) {
    constexpr int kWidth = 30;
    const auto total = static_cast<double>(std::max<std::uint64_t>(work.total(), 1));
    const double fraction = std::min(1.0, static_cast<double>(work.done()) / total);
    const double left = fraction > 0 ? elapsed / fraction - elapsed : 0;
    const int filled = static_cast<int>(fraction * kWidth);
    put(fmt::format("\r{} [{}{}] {:3.0f}% {}/{} {} {:.0f}s left\x1b[K", printable(work.label()),
                    std::string(static_cast<std::size_t>(filled), '='),
                    std::string(static_cast<std::size_t>(kWidth - filled), ' '), 100 * fraction, work.done(),
                    std::max<std::uint64_t>(work.total(), 1), work.unit(), left));
  }
  void erase() noexcept {
    if (!on_screen_) return;
    on_screen_ = false;
    put(kErase);
  }
  static void put(std::string_view text) noexcept {
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  }

  std::mutex mutex_;
  std::map<const Progress*, Clock::time_point> begun_;
  Clock::time_point drawn_;
  bool visible_ = ::isatty(STDERR_FILENO) == 1, on_screen_ = false;
};

ProgressBar& terminal_bar() {
  static ProgressBar bar;
  return bar;
}

}  // namespace

ProgressSink& progress_bar() {
  return terminal_bar();
}

void erase_progress_bar() {
  terminal_bar().finish();
}

}  // namespace assay::app
