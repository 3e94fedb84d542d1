#pragma once
// The one exception type for what a user can cause: a bad file, a bad flag, a model that is not supported.
// main() catches it once and prints one line. Programming errors are asserts, never exceptions.
#include <fmt/core.h>

#include <stdexcept>
#include <string>

namespace assay {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws an Error. Word order of messages: path, tensor, block or element, found, expected, what to do.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace assay
