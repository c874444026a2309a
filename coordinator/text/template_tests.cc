#include "coordinator/text/template_tests.h"

#include <fmt/format.h>

#include "coordinator/text/template_filters.h"
#include "coordinator/text/template_letters.h"
#include "coordinator/text/template_operators.h"
#include "coordinator/text/template_parameters.h"

namespace batchmax::coordinator::jinja {
namespace {

using C = Comparison::Operator;

// A test that asks for the kind of the value alone.
template <bool (*kHolds)(const Value&)>
bool kind(Rendering&, const Value& value, const Arguments& arguments) {
  const Parameters given("a test", arguments, {});
  return kHolds(value);
}

template <C kOperator>
bool comparison(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("a test", arguments, {"other"});
  return compare_values(rendering, kOperator, value, given.at(0));
}

bool is_sequence(const Value& value) {
  return value.is_string() || value.is_dict() || value.is_undefined() ||
         (value.is_list() && value.as_list().kind != List::Kind::kGenerator);
}
bool is_iterable(const Value& value) { return is_sequence(value) || value.is_list(); }

// The remainder that Python computes, for odd, even and divisibleby.
Value remainder(Rendering& rendering, const Value& value, const Value& divisor) {
  return binary_operation(rendering, Binary::Operator::kModulo, value, divisor);
}
template <int kRest>
bool parity(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("a test", arguments, {});
  return remainder(rendering, value, Value::integer(2)) == Value::integer(kRest);
}
bool divisible_by(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("divisibleby", arguments, {"num"});
  return remainder(rendering, value, given.at(0)) == Value::integer(0);
}

bool same_as(Rendering&, const Value& value, const Arguments& arguments) {
  const Parameters given("sameas", arguments, {"other"});
  return value.same_as(given.at(0));
}

bool is_known_filter(const Value& value) {
  return value.is_string() && find_filter(value.as_string()) != nullptr;
}
bool is_known_test(const Value& value) {
  return value.is_string() && find_test(value.as_string()) != nullptr;
}

struct Entry {
  std::string_view name;
  Test test;
};
constexpr Entry kTests[] = {
    {"defined", kind<[](const Value& v) { return !v.is_undefined(); }>},
    {"undefined", kind<[](const Value& v) { return v.is_undefined(); }>},
    {"none", kind<[](const Value& v) { return v.is_none(); }>},
    {"boolean", kind<[](const Value& v) { return v.is_bool(); }>},
    {"true", kind<[](const Value& v) { return v.is_bool() && v.truth(); }>},
    {"false", kind<[](const Value& v) { return v.is_bool() && !v.truth(); }>},
    {"integer", kind<[](const Value& v) { return v.is_integer(); }>},
    {"float", kind<[](const Value& v) { return v.is_real(); }>},
    {"number", kind<[](const Value& v) { return v.is_number(); }>},
    {"string", kind<[](const Value& v) { return v.is_string(); }>},
    {"mapping", kind<[](const Value& v) { return v.is_dict(); }>},
    {"sequence", kind<is_sequence>},
    {"iterable", kind<is_iterable>},
    {"callable", kind<[](const Value& v) { return v.is_callable() || v.is_undefined(); }>},  // as in Jinja
    {"escaped", kind<[](const Value&) { return false; }>},
    {"lower", kind<[](const Value& v) { return has_property(v.text(), "lower"); }>},
    {"upper", kind<[](const Value& v) { return has_property(v.text(), "upper"); }>},
    {"filter", kind<is_known_filter>},
    {"test", kind<is_known_test>},
    {"odd", parity<1>},
    {"even", parity<0>},
    {"divisibleby", divisible_by},
    {"sameas", same_as},
    {"in", comparison<C::kIn>},
    {"eq", comparison<C::kEqual>},
    {"==", comparison<C::kEqual>},
    {"equalto", comparison<C::kEqual>},
    {"ne", comparison<C::kUnequal>},
    {"!=", comparison<C::kUnequal>},
    {"lt", comparison<C::kLess>},
    {"<", comparison<C::kLess>},
    {"lessthan", comparison<C::kLess>},
    {"le", comparison<C::kLessOrEqual>},
    {"<=", comparison<C::kLessOrEqual>},
    {"gt", comparison<C::kGreater>},
    {">", comparison<C::kGreater>},
    {"greaterthan", comparison<C::kGreater>},
    {"ge", comparison<C::kGreaterOrEqual>},
    {">=", comparison<C::kGreaterOrEqual>},
};

}  // namespace

Test find_test(std::string_view name) {
  for (const Entry& entry : kTests)
    if (entry.name == name) return entry.test;
  return nullptr;
}

}  // namespace batchmax::coordinator::jinja
