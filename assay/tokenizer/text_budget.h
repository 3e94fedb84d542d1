#pragma once
// What encoding one text may cost. Normalizers and split patterns come with models nobody vouches for, and a
// few bytes of them can ask for any amount of memory or time.
#include <cstddef>
#include <cstdint>
#include <string>

namespace assay {

class TextBudget {
 public:
  static constexpr std::size_t kGrowth = 16, kFreeBytes = 1u << 20;
  static constexpr double kSeconds = 2, kSecondsPerByte = 4e-6;  // a fast core needs 2e-7 for ordinary text

  /// For a text of this many bytes. `origin`, which must outlive the budget, opens messages.
  TextBudget(std::size_t text_bytes, const std::string& origin)
      : TextBudget(text_bytes, origin, kSeconds + kSecondsPerByte * static_cast<double>(text_bytes)) {}
  TextBudget(std::size_t text_bytes, const std::string& origin, double seconds);

  /// Throws Error where normalization would make this many bytes and they are not left.
  void check_bytes(std::size_t bytes) const;
  /// Takes them from what is left.
  void spend_bytes(std::size_t bytes);

  /// Work that must end: `cost` is about as many nanoseconds, or fewer. Throws Error when this thread has
  /// used up its processor time. The clock is looked at once in a while only.
  void spend_time(std::size_t cost, const std::string& what) {
    if (cost < until_look_)
      until_look_ -= cost;
    else
      look_at_clock(what);
  }

 private:
  static constexpr std::size_t kBetweenLooks = 1u << 20;

  void look_at_clock(const std::string& what);

  const std::string& origin_;
  std::size_t text_bytes_, bytes_left_, until_look_ = kBetweenLooks;
  double seconds_;
  std::int64_t wall_start_, processor_start_;  // nanoseconds
};

}  // namespace assay
