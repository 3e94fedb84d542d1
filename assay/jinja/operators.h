#pragma once
// What operators do with values, as in Python. Combinations that Python would refuse are an Error.
#include "assay/jinja/context.h"
#include "assay/jinja/syntax.h"
#include "assay/jinja/value.h"

namespace assay::jinja {

Value calculate(Arithmetic::Operator operation, const Value& left, const Value& right, Context& context);
Value negate(const Value& operand, const Context& context);
bool compare(Comparison::Operator operation, const Value& left, const Value& right, Context& context);
bool equal(const Value& left, const Value& right, Context& context);

/// object[key]; a missing key or an index out of range gives undefined.
Value item_of(const Value& object, const Value& key, Context& context);
/// object.name, unless it is the callee of a call.
Value attribute_of(const Value& object, const std::string& name, Context& context);
/// As find and assign in value.h, with the keys that are looked at charged.
const Value* look_up(const Dict& dict, const std::string& key, Context& context);
void put(Dict& dict, const std::string& key, Value value, Context& context);
/// object[begin:end:step]; none stands for an absent part.
Value slice_of(const Value& object, const Value& begin, const Value& end, const Value& step,
               Context& context);

/// What a for runs through, or list(...): items, keys, or characters.
std::shared_ptr<const List> items_of(const Value& value, Context& context);
/// What {{ }} prints. Lists and mappings are refused: tojson prints them.
std::string text_of(const Value& value, Context& context);
/// As a whole number; booleans count as 0 and 1. Null when the value is none.
std::optional<std::int64_t> whole_number(const Value& value);

}  // namespace assay::jinja
