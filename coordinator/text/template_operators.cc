#include "coordinator/text/template_operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "coordinator/text/template_format.h"
#include "coordinator/text/template_methods.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator::jinja {
namespace {

using Op = Binary::Operator;

constexpr std::string_view kSigns[] = {"+", "-", "*", "/", "//", "%", "**", "and", "or"};

[[noreturn]] void fail_operands(Op op, const Value& left, const Value& right) {
  throw OperationError(fmt::format("unsupported operand types for {}: '{}' and '{}'",
                                   kSigns[static_cast<size_t>(op)], left.type_name(), right.type_name()));
}

void require_defined(const Value& value) {
  if (value.is_undefined()) throw OperationError(value.why_undefined());
}

[[noreturn]] void fail_overflow() { throw OperationError("an integer beyond 64 bits"); }

int64_t add(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_add_overflow(a, b, &result)) fail_overflow();
  return result;
}
int64_t subtract(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_sub_overflow(a, b, &result)) fail_overflow();
  return result;
}
int64_t multiply(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) fail_overflow();
  return result;
}

int64_t whole_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) result = multiply(result, base);
    if (exponent > 1) base = multiply(base, base);
  }
  return result;
}

// Rounds towards minus infinity, as Python does. REQUIRES divisor != 0.
int64_t floor_divide(int64_t a, int64_t b) {
  if (b == -1) return subtract(0, a);
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

Value whole_arithmetic(Op op, int64_t a, int64_t b) {
  switch (op) {
    case Op::kAdd:
      return Value::integer(add(a, b));
    case Op::kSubtract:
      return Value::integer(subtract(a, b));
    case Op::kMultiply:
      return Value::integer(multiply(a, b));
    case Op::kFloorDivide:
      return Value::integer(floor_divide(a, b));
    case Op::kModulo:
      return Value::integer(b == -1 ? 0 : a - b * floor_divide(a, b));
    case Op::kPower:
      if (b >= 0) return Value::integer(whole_power(a, b));
      return Value::real(std::pow(static_cast<double>(a), static_cast<double>(b)));
    default:
      return Value::real(static_cast<double>(a) / static_cast<double>(b));
  }
}

Value real_arithmetic(Op op, double a, double b) {
  switch (op) {
    case Op::kAdd:
      return Value::real(a + b);
    case Op::kSubtract:
      return Value::real(a - b);
    case Op::kMultiply:
      return Value::real(a * b);
    case Op::kFloorDivide:
      return Value::real(std::floor(a / b));
    case Op::kModulo: {
      const double rest = std::fmod(a, b);
      return Value::real(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
    }
    case Op::kPower:
      return Value::real(std::pow(a, b));
    default:
      return Value::real(a / b);
  }
}

Value arithmetic(Op op, const Value& left, const Value& right) {
  const bool divides = op == Op::kDivide || op == Op::kFloorDivide || op == Op::kModulo;
  const bool inverts = op == Op::kPower && right.as_real() < 0 && left.as_real() == 0;
  if ((divides && right.as_real() == 0) || inverts) throw OperationError("division by zero");
  if (left.is_real() || right.is_real()) return real_arithmetic(op, left.as_real(), right.as_real());
  return whole_arithmetic(op, left.as_integer(), right.as_integer());
}

Value repeat(Rendering& rendering, const Value& whole, int64_t times) {
  const auto count = static_cast<size_t>(std::clamp<int64_t>(times, 0, int64_t{1} << 30));
  if (whole.is_string()) {
    const std::string& once = whole.as_string();
    rendering.charge_text(once.size() * count);
    std::string text;
    text.reserve(once.size() * count);
    for (size_t i = 0; i < count && !once.empty(); ++i) text += once;
    return Value::string(std::move(text));
  }
  const List& list = whole.as_list();
  rendering.charge(list.items.size() * count);
  std::vector<Value> items;
  for (size_t i = 0; i < count && !list.items.empty(); ++i)
    items.insert(items.end(), list.items.begin(), list.items.end());
  return list.kind == List::Kind::kTuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

bool is_sequence(const Value& value) {
  return value.is_string() || (value.is_list() && value.as_list().kind != List::Kind::kGenerator);
}

Value add_sequences(Rendering& rendering, const Value& left, const Value& right) {
  if (left.is_string() && right.is_string()) {
    rendering.charge_text(left.as_string().size() + right.as_string().size());
    return Value::string(left.as_string() + right.as_string());
  }
  if (!left.is_list() || !right.is_list() || left.as_list().kind != right.as_list().kind)
    fail_operands(Op::kAdd, left, right);
  std::vector<Value> items = left.as_list().items;
  const auto& more = right.as_list().items;
  rendering.charge(items.size() + more.size());
  items.insert(items.end(), more.begin(), more.end());
  return left.as_list().kind == List::Kind::kTuple ? Value::tuple(std::move(items))
                                                   : Value::list(std::move(items));
}

Value missing(const Value& object, const std::string& what) {
  if (object.is_none()) return Value::undefined(fmt::format("'None' has no attribute {}", what));
  return Value::undefined(fmt::format("'{} object' has no attribute {}", object.type_name(), what));
}

// The index counted from the front, or nothing where it is out of range.
std::optional<size_t> place_of(int64_t index, size_t size) {
  if (index < 0) index += static_cast<int64_t>(size);
  if (index < 0 || index >= static_cast<int64_t>(size)) return std::nullopt;
  return static_cast<size_t>(index);
}

int64_t slice_bound(const Value& bound, int64_t otherwise, int64_t size, int64_t step) {
  if (bound.is_undefined() || bound.is_none()) return otherwise;
  if (!bound.is_integer() && !bound.is_bool()) throw OperationError("slice indices must be integers or None");
  int64_t at = bound.as_integer();
  if (at < 0) at = std::max<int64_t>(at, -size - 1) + size;
  return step > 0 ? std::clamp<int64_t>(at, 0, size) : std::clamp<int64_t>(at, -1, size - 1);
}

// Lists, dicts, and tuples that hold one cannot; a template that looks for them finds nothing.
bool can_be_key(const Value& value) {
  if (value.is_dict()) return false;
  if (!value.is_list()) return true;
  const List& list = value.as_list();
  return list.kind == List::Kind::kTuple && std::all_of(list.items.begin(), list.items.end(), can_be_key);
}

// What a value has by its type: methods, attributes of objects, the names in what groupby gives.
std::optional<Value> find_member(const Value& object, std::string_view name) {
  if (auto method = find_method(object, name)) return method;
  if (object.is_object()) return object.as_object().attribute(name);
  if (object.is_list() && object.as_list().is_group) {
    if (name == "grouper") return object.as_list().items[0];
    if (name == "list") return object.as_list().items[1];
  }
  return std::nullopt;
}

}  // namespace

Value binary_operation(Rendering& rendering, Op op, const Value& left, const Value& right) {
  require_defined(left);
  if (op == Op::kModulo && left.is_string())
    return Value::string(format_percent(rendering, left.as_string(), right));
  require_defined(right);
  if (left.is_number() && right.is_number()) return arithmetic(op, left, right);
  if (op == Op::kAdd && is_sequence(left) && is_sequence(right)) return add_sequences(rendering, left, right);
  if (op == Op::kMultiply && is_sequence(left) && right.is_number() && !right.is_real())
    return repeat(rendering, left, right.as_integer());
  if (op == Op::kMultiply && is_sequence(right) && left.is_number() && !left.is_real())
    return repeat(rendering, right, left.as_integer());
  if (op == Op::kAdd && left.is_string())
    throw OperationError(fmt::format("can only concatenate str (not \"{}\") to str", right.type_name()));
  fail_operands(op, left, right);
}

Value unary_operation(Unary::Operator op, const Value& operand) {
  if (op == Unary::Operator::kNot) return Value::boolean(!operand.truth());
  require_defined(operand);
  const bool minus = op == Unary::Operator::kMinus;
  if (operand.is_real()) return Value::real(minus ? -operand.as_real() : operand.as_real());
  if (operand.is_number()) return whole_arithmetic(minus ? Op::kSubtract : Op::kAdd, 0, operand.as_integer());
  throw OperationError(
      fmt::format("bad operand type for unary {}: '{}'", minus ? "-" : "+", operand.type_name()));
}

bool contains(Rendering& rendering, const Value& whole, const Value& part) {
  if (whole.is_string()) {
    if (part.is_undefined()) throw OperationError(part.why_undefined());
    if (!part.is_string())
      throw OperationError(
          fmt::format("'in <string>' requires string as left operand, not {}", part.type_name()));
    rendering.charge(whole.as_string().size() / 32);
    return whole.as_string().find(part.as_string()) != std::string::npos;
  }
  if (whole.is_dict()) return whole.as_dict().find(part) != nullptr;
  if (whole.is_undefined()) return false;
  if (!whole.is_list())
    throw OperationError(fmt::format("argument of type '{}' is not iterable", whole.type_name()));
  const auto& items = whole.as_list().items;
  rendering.charge(items.size() + std::min(whole.weight(), part.weight() * items.size()) / 32);
  return std::find(items.begin(), items.end(), part) != items.end();
}

bool compare_values(Rendering& rendering, Comparison::Operator op, const Value& left, const Value& right) {
  using C = Comparison::Operator;
  switch (op) {
    case C::kEqual:
    case C::kUnequal:
      rendering.charge(std::min(left.weight(), right.weight()) / 32);
      return (left == right) == (op == C::kEqual);
    case C::kLess:
      return Value::compare(left, right, "<") < 0;
    case C::kLessOrEqual:
      return Value::compare(left, right, "<=") <= 0;
    case C::kGreater:
      return Value::compare(left, right, ">") > 0;
    case C::kGreaterOrEqual:
      return Value::compare(left, right, ">=") >= 0;
    case C::kIn:
      return contains(rendering, right, left);
    case C::kNotIn:
      break;
  }
  return !contains(rendering, right, left);
}

Value get_attribute(const Value& object, std::string_view name) {
  require_defined(object);
  if (auto member = find_member(object, name)) return *member;
  if (object.is_dict()) {
    if (const Value* value = object.as_dict().find(name)) return *value;
  }
  return missing(object, fmt::format("'{}'", name));
}

Value get_item(Rendering& rendering, const Value& object, const Value& index) {
  require_defined(object);
  if (object.is_dict()) {
    if (!can_be_key(index)) return missing(object, index.representation());
    if (const Value* value = object.as_dict().find(index)) return *value;
  } else if (is_sequence(object) && (index.is_integer() || index.is_bool())) {
    if (object.is_string()) {
      rendering.charge(object.as_string().size() / 32);
      const size_t size = object.length();
      const auto place = place_of(index.as_integer(), size);
      if (place) return Value::string(std::string(substring(object.as_string(), *place, *place + 1)));
    } else if (const auto place = place_of(index.as_integer(), object.as_list().items.size())) {
      return object.as_list().items[*place];
    }
    return Value::undefined(
        fmt::format("{} object has no element {}", object.type_name(), index.as_integer()));
  }
  if (!index.is_string()) return missing(object, index.representation());
  if (auto member = find_member(object, index.as_string())) return *member;
  return missing(object, fmt::format("'{}'", index.as_string()));
}

Value get_slice(Rendering& rendering, const Value& object, const Value& start, const Value& stop,
                const Value& step) {
  require_defined(object);
  if (!is_sequence(object))
    throw OperationError(fmt::format("'{}' object is not subscriptable by a slice", object.type_name()));
  const auto size = static_cast<int64_t>(object.length());
  const int64_t stride = step.is_undefined() || step.is_none() ? 1
                         : step.is_integer()                   ? step.as_integer()
                                                               : 0;
  if (stride == 0) throw OperationError("slice step must be an integer other than zero");
  const int64_t first = slice_bound(start, stride > 0 ? 0 : size - 1, size, stride);
  const int64_t end = slice_bound(stop, stride > 0 ? size : -1, size, stride);
  if (object.is_string() && stride == 1) {
    rendering.charge_text(object.as_string().size());
    return Value::string(std::string(substring(object.as_string(), static_cast<size_t>(first),
                                               static_cast<size_t>(std::max(first, end)))));
  }
  rendering.charge(static_cast<uint64_t>(size));
  const std::vector<Value> all = object.items();
  std::vector<Value> items;
  for (int64_t at = first; stride > 0 ? at < end : at > end;) {
    items.push_back(all[static_cast<size_t>(at)]);
    if (std::abs(stride) >= size) break;
    at += stride;
  }
  if (object.is_string()) {
    std::string text;
    for (const Value& item : items) text += item.as_string();
    return Value::string(std::move(text));
  }
  return object.as_list().kind == List::Kind::kTuple ? Value::tuple(std::move(items))
                                                     : Value::list(std::move(items));
}

Value call_value(Rendering& rendering, const Value& callee, const Arguments& arguments) {
  require_defined(callee);
  if (!callee.is_object())
    throw OperationError(fmt::format("'{}' object is not callable", callee.type_name()));
  return callee.as_object().call(rendering, arguments);
}

}  // namespace batchmax::coordinator::jinja
