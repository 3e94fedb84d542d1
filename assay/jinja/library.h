#pragma once
// The filters, tests and methods that templates call. Unknown ones are an Error when they are reached.
#include <string>
#include <utility>
#include <vector>

#include "assay/jinja/context.h"
#include "assay/jinja/value.h"

namespace assay::jinja {

/// The arguments of a call, evaluated.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// Hands out arguments by position or name and refuses what is left over.
class ArgumentReader {
 public:
  ArgumentReader(std::string callee, const Arguments& arguments, Context& context)
      : callee_(std::move(callee)), arguments_(arguments), context_(context) {}

  /// The next argument, or the fallback where it is absent.
  Value take(const char* name, Value fallback);
  Value require(const char* name);
  std::string require_string(const char* name);
  /// To be called after the last: an argument nobody took is an Error.
  void finish() const;

 private:
  std::string callee_;
  const Arguments& arguments_;
  Context& context_;
  std::size_t position_ = 0, taken_ = 0;
};

/// input | name(arguments)
Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments, Context& context);
/// input is name(arguments)
bool apply_test(const std::string& name, const Value& input, const Arguments& arguments, Context& context);
/// object.name(arguments)
Value call_method(const Value& object, const std::string& name, const Arguments& arguments, Context& context);

/// The value as JSON, as json.dumps writes it; indent < 0: on one line.
std::string to_json(const Value& value, int indent, Context& context);

/// str.strip and its two halves; `unwanted` none: white space.
std::string strip(const std::string& text, const Value& unwanted, bool left, bool right, Context& context);
/// str.replace; a negative count replaces all.
std::string replace(const std::string& text, const std::string& pattern, const std::string& replacement,
                    std::int64_t count, Context& context);
/// separator.join(items)
std::string join(const List& items, const std::string& separator, Context& context);

}  // namespace assay::jinja
