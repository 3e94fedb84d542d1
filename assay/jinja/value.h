#pragma once
// The values of a template: Python's, as far as chat templates use them. Copies are cheap; strings, lists and
// dictionaries are shared and never change, only namespaces do.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace assay::jinja {

struct Macro;
class Value;

using List = std::vector<Value>;
using Dict =
    std::vector<std::pair<std::string, Value>>;  // in order of insertion; few keys, so looked through

struct Undefined {
  std::string name;  // of what was looked for in vain
};
struct None {};
struct Namespace;  // namespace(...): the one object whose attributes can be set
struct Loop;       // `loop` inside a for
enum class Function { range, make_namespace, raise_exception, strftime_now };

class Value {
 public:
  using Data = std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const std::string>,
                            std::shared_ptr<const List>, std::shared_ptr<const Dict>,
                            std::shared_ptr<Namespace>, std::shared_ptr<const Loop>, const Macro*, Function>;

  Value() = default;
  /// Names are kept for messages only; long ones are cut, because they are copied with the value.
  static Value undefined(std::string_view name) { return Value(Undefined{std::string(name.substr(0, 128))}); }
  static Value none() { return Value(None{}); }
  static Value boolean(bool value) { return Value(value); }
  static Value integer(std::int64_t value) { return Value(value); }
  static Value real(double value) { return Value(value); }
  static Value string(std::string value) {
    return Value(std::make_shared<const std::string>(std::move(value)));
  }
  static Value list(List value);
  static Value dict(Dict value);
  static Value name_space(std::shared_ptr<Namespace> value);
  static Value loop(std::shared_ptr<const Loop> value);
  static Value macro(const Macro* value) { return Value(value); }
  static Value function(Function value) { return Value(value); }

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_callable() const {
    return std::holds_alternative<const Macro*>(data_) || std::holds_alternative<Function>(data_);
  }

  // The value when it is of that kind, null otherwise.
  const bool* as_boolean() const { return std::get_if<bool>(&data_); }
  const std::int64_t* as_integer() const { return std::get_if<std::int64_t>(&data_); }
  const double* as_real() const { return std::get_if<double>(&data_); }
  const std::string* as_string() const { return shared<const std::string>(); }
  const List* as_list() const { return shared<const List>(); }
  const Dict* as_dict() const { return shared<const Dict>(); }
  Namespace* as_namespace() const { return shared<Namespace>(); }
  const Loop* as_loop() const { return shared<const Loop>(); }
  const Macro* as_macro() const {
    const auto* found = std::get_if<const Macro*>(&data_);
    return found == nullptr ? nullptr : *found;
  }
  const Function* as_function() const { return std::get_if<Function>(&data_); }
  const std::string& undefined_name() const { return std::get<Undefined>(data_).name; }

  /// Lists and mappings within each other: 0 for anything else.
  int depth() const { return depth_; }
  /// Whether it is, or holds at whatever distance, something that changes: a namespace, or a loop's state.
  bool holds_state() const { return holds_state_; }
  /// What `if` takes it for.
  bool truth() const;
  /// "a string", "a list", ...: for messages.
  std::string kind() const;

 private:
  explicit Value(Data data) : data_(std::move(data)) {}
  void contain(const Value& item);
  template <class T>
  T* shared() const {
    const auto* found = std::get_if<std::shared_ptr<T>>(&data_);
    return found == nullptr ? nullptr : found->get();
  }

  Data data_;
  int depth_ = 0;
  bool holds_state_ = false;
};

struct Namespace {
  Dict attributes;
};

struct Loop {
  std::shared_ptr<const List> items;
  std::size_t index = 0;  // from 0
};

/// The value of a key, or null.
const Value* find(const Dict& dict, const std::string& key);
void assign(Dict& dict, const std::string& key, Value value);

}  // namespace assay::jinja
