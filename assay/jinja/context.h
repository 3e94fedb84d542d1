#pragma once
// Where a template is being read or run, and how much it may still do. Templates come with models nobody
// vouches for: loops, recursion, and the text they build are bounded.
#include <cstddef>
#include <string>
#include <utility>

#include "assay/base/error.h"
#include "assay/base/quote.h"

namespace assay::jinja {

class Context {
 public:
  explicit Context(std::string origin) : origin_(std::move(origin)) {}

  int line = 1;  // of the construct at hand

  /// Throws an Error that names the origin and the line.
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    constexpr std::size_t kLongestMessage = 500;
    fail("{}: chat template line {}: {}", origin_, line,
         printable(fmt::format(format, std::forward<Args>(args)...), kLongestMessage));
  }

  /// Counts work: bytes built, elements visited, steps taken. Throws Error beyond the limit.
  void charge(std::size_t amount) {
    if (amount > left_) refuse("the template does not come to an end within {} steps", kWorkLimit);
    left_ -= amount;
  }

  /// What std::string::find may cost: the pattern compared anew at every place.
  void charge_search(std::size_t text, std::size_t pattern) {
    constexpr std::size_t kComparedAtOnce = 64;
    charge(text);
    if (pattern <= text) charge_product(text - pattern + 1, pattern / kComparedAtOnce);
  }
  void charge_product(std::size_t times, std::size_t amount) {
    charge(amount != 0 && times > kWorkLimit / amount ? kWorkLimit + 1 : times * amount);
  }

  const std::string& origin() const { return origin_; }

 private:
  static constexpr std::size_t kWorkLimit = 64u << 20;
  std::string origin_;
  std::size_t left_ = kWorkLimit;
};

/// Counts one level of recursion while it lives. Throws Error beyond the limit.
class Level {
 public:
  Level(int& depth, int limit, const Context& context) : depth_(depth) {
    if (depth_ >= limit) context.refuse("nested deeper than {} levels", limit);
    ++depth_;
  }
  ~Level() { --depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  int& depth_;
};

}  // namespace assay::jinja
